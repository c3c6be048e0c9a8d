"""The bucket that several caches share, written and tended by processes of their own: alone imports boto3."""

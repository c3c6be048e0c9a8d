"""What `registry-cache check` tries against an upstream, step by step."""

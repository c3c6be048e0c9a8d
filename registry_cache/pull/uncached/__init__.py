"""Blobs that the disk does not keep: streamed to readers who share one request to upstream."""

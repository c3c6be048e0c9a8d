"""Ranges of blobs that are not here, fetched by themselves and kept in pieces."""

"""A pull-through cache for Docker and OCI registries."""

__version__ = "0.1.0"

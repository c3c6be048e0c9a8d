"""A pull-through cache for Docker and OCI registries."""

__version__ = "0.2.0"

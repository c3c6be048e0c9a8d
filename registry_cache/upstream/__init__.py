"""The network: the only package that talks to registries, and the only one that imports requests."""

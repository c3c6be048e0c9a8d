"""Connections to registries: which address, which socket, and heads read within bounds."""

"""Bringing content in from other stores and archives, and writing archives."""

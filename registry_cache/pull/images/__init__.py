"""Whole images: what belongs to one, bringing it here, writing it to an archive."""

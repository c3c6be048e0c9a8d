"""The disk: the only package that opens files or locks them. What ``ls`` and ``flock`` say is the state."""

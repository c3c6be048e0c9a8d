"""What nodes tell each other through Redis. Nothing here guards bytes, and a node pulls without it."""

"""How a test says which bytes of a file the disk does not give."""

# It holds the offset of the first.
ATTRIBUTE = "user.unreadable"

"""Build what a server and the commands need from a configuration; a module each, so that a command loads its own."""

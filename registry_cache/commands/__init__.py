"""The commands of the console script, a module each, which is imported only when its command is run."""

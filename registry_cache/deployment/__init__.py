"""What stands around the server: texts that an operator installs, made from values. Pure; reads and writes no file."""

"""Numbers that last: what was served, saved and asked for, by five minutes and by day, in files of the store."""

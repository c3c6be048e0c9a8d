"""Statistics that outlast a restart: what was served, saved and asked for, by five minutes and by day."""

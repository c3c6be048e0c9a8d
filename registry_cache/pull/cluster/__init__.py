"""What a pull shares with the other nodes of a cluster, and with their bucket: downloads, questions, tags, pins."""

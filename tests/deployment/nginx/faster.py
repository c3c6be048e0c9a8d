"""How many times as fast as in life the stories of slow clients are told."""

FASTER = 60

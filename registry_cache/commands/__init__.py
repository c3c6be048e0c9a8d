"""The commands of the console script, a module each. None imports flask, requests or gevent before it runs."""

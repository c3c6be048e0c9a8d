"""What every package may use: logging, metrics, threads, the wait for upstream, clients behind a proxy."""

"""What every package may use: logging, metrics, threads, the wait for upstream, who is behind a proxy."""

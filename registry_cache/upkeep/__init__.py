"""What is done besides serving: looking after a store, and reporting its state."""

"""Looking for damage in the store, and repairing it."""

"""What is done beside serving: looking after a store and telling how it is."""

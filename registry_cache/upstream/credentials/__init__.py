"""Who we are to a registry: accounts, challenges, token servers."""

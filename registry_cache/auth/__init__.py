"""Who may pull: an htpasswd file, what a client sends, and whether the two agree. Knows neither Flask nor the store."""

"""Downloads that are kept: one transfer fills the store while its readers follow."""

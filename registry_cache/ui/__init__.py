"""The page: what this cache saved and what is going on, for a browser. Reads sums, and changes nothing."""

"""HTTP: the only package that imports Flask. Turns requests into values and answers into responses."""

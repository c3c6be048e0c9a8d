"""The use cases: what a pull does with a store and an upstream. Knows neither Flask nor requests."""

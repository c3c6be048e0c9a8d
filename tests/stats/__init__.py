"""Tests of the numbers that last."""

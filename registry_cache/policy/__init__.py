"""Decisions: pure functions of facts and of the time, which is an argument."""

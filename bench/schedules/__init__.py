"""Whole nodes in one process, by a clock and a scheduler of their own."""

"""Load, measurements and independent checkers; imports nothing of `gateway` or `workers` to check them."""

"""Load, measurements and independent checkers.

Nothing here imports `gateway` or `workers` to judge what they made: it must be able to disagree.
"""

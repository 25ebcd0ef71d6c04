"""Errors of the workers, by whose fault they are.

ConfigError    the operator's: the process refuses to start (exit 78)

What a plug-in raises is counted and logged in `pipeline.py` and goes no further; what came over the
bus and cannot be read is a `gateway.wire.errors.WireError`, counted in `links.py`.
"""

#: What a process exits with: something is not to be had; our fault; the operator's.
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_CONFIG = 78


class ConfigError(Exception):
    """The configuration cannot be used. Raised while starting, caught by the command line.

    `path` leads to the fault (`processors.level.window_ms`, or the file where that is the fault),
    `reason` says what is wrong with it.
    """

    def __init__(self, path: str, reason: str, *, is_file: bool = False) -> None:
        table, _, key = path.rpartition(".")
        place = path if is_file else f"[{table}] {key}" if table else f"[{path}]"
        super().__init__(f"{place}: {reason}")
        self.is_file = is_file
        self.path = path
        self.reason = reason

"""What can go wrong in the front process, by whose fault it is.

GatewayError
 +-- ConfigError       the operator's: we refuse to start, with the path to the fault; exit 78
 +-- Unavailable       something is not to be had (port, folder): exit 69, and try again

The peer's faults are counted where they are met (`acs.errors.PacketError`, the socket's close
codes), the wire's in `wire.errors`. What is left is ours: it ends the process with 70.
"""

EX_USAGE = 2
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_CONFIG = 78


class GatewayError(Exception):
    """Ends the process: `str` is the one line for the operator, `exit_code` what it returns."""

    exit_code = EX_SOFTWARE


class ConfigError(GatewayError):
    """Something that the operator wrote cannot be used. `path` says where: `[gateway] flush_ms`."""

    exit_code = EX_CONFIG

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path
        self.reason = reason


class Unavailable(GatewayError):
    """A port, a folder or a server that we need is not to be had."""

    exit_code = EX_UNAVAILABLE

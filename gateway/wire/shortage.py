"""Errors that tell of this process or its machine, and nothing of the file that was asked for.

Who looks whether something is there must not take "I cannot look just now" for "it is not there":
a worker would leave gateways that live, a recorder would not find what it has written.
"""

import errno

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR})


def is_shortage(fault: OSError) -> bool:
    """Whether asking again later may find what was there all the time."""
    return fault.errno in _SHORTAGES

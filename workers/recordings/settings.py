"""What the configuration says about recordings. Read by the recorder, `finish` and the worker's
configuration.
"""

from typing import Annotated, Literal

import msgspec

#: `power`: what is acknowledged survives a loss of power; `process`: the death of every process.
Durability = Literal["power", "process"]
Seconds = Annotated[float, msgspec.Meta(ge=0)]


class RecordingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table `[recording]`."""

    #: How long audio is gathered before it is written and synced: more of it costs memory and
    #: delays acknowledgements, less of it costs writes.
    gather_s: Seconds = 2.0
    #: How long a call is kept open after a socket that closed without a close frame.
    redial_wait_s: Seconds = 30.0
    #: How long after its last finish a recording can be opened again by a further session.
    reopen_s: Seconds = 3600.0
    durability: Durability = "power"

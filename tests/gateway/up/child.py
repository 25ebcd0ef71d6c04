"""A child process that needs nothing but Python: what a gateway or a worker looks like to `up`.

    child.py NAME DATA PARENT_FD READY_FD

How it behaves stands in DATA/behaviour/NAME: `exit CODE`, `unready`, `stubborn` (only SIGKILL ends
it), `twice` (a second SIGTERM ends it), `talks` (it has calls: a second SIGUSR1 ends it) or
`lingers` (for a while, when its parent is dead). What happens to it is appended to DATA/events.
"""

import json
import os
import select
import signal
import sys
import time
from pathlib import Path

NAME, DATA, PARENT, READY = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])


def tell(event: str) -> None:
    with (DATA / "events").open("a") as events:
        events.write(f"{NAME} {event}\n")


def publish(*, ready: bool) -> None:
    stem, index = NAME.rsplit("-", 1)
    is_gateway = stem == "gateway"
    snapshot = {
        "process": NAME,
        "role": "gateway" if is_gateway else "worker",
        "pool": None if is_gateway else stem,
        "index": int(index),
        "pid": os.getpid(),
        "at_us": time.time_ns() // 1000,
        "ready": ready,
        "reason": "" if ready else "it was told so",
        "series": [
            {"name": "turns", "kind": "counter", "help": "Turns.", "value": 7},
            {"name": "sessions", "kind": "gauge", "help": "Calls.", "value": 2},
        ],
    }
    partial = DATA / "run" / "metrics" / f"{NAME}.{os.getpid()}.tmp"
    partial.write_text(json.dumps(snapshot))
    partial.rename(partial.with_suffix(".json"))


def main() -> None:
    signal.alarm(60)  # whatever a test forgets
    path = DATA / "behaviour" / NAME
    behaviour = path.read_text() if path.exists() else ""
    tell("started")
    print("a plug-in that prints", flush=True)
    if behaviour.startswith("exit"):
        sys.exit(int(behaviour.split()[1]))
    hears, says = os.pipe()
    os.set_blocking(says, False)
    signal.set_wakeup_fd(says)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, lambda *_: None)
    publish(ready=behaviour != "unready")
    if READY >= 0:
        os.write(READY, b"READY\n")
        os.close(READY)
    live(behaviour, hears)


def live(behaviour: str, hears: int) -> None:
    terms = retires = 0
    while True:
        readable, _, _ = select.select([hears, PARENT], [], [], 0.5)
        publish(ready=behaviour != "unready")
        if PARENT in readable and behaviour != "stubborn":
            time.sleep(1.5 if behaviour == "lingers" else 0)
            tell("orphaned")
            return
        for number in os.read(hears, 64) if hears in readable else b"":
            tell(signal.Signals(number).name)
            terms += number == signal.SIGTERM
            retires += number == signal.SIGUSR1
        if retires >= (2 if behaviour == "talks" else 1):
            return
        if terms >= (2 if behaviour == "twice" else 1) and behaviour != "stubborn":
            return


main()

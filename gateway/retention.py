"""What of a log is still needed: the first tick that some worker may not have made safe. Pure."""

from collections.abc import Iterable

from gateway.catch_up import CatchUps
from gateway.links import Link
from gateway.log.adoption import Adopted
from gateway.seats import Routed


def resume_tick(link: Link, source: Adopted | None, catch_ups: CatchUps, tick: int) -> int | None:
    """The first tick of a log that a link may not have made safe; None: it has all of it.

    `source` None is our own log, in which `tick` gathers now.
    """
    ticks = [catch_ups.next_tick(link, source), link.in_flight.oldest_tick(source)]
    if source is None:
        ticks.append(link.outbox[0].number if link.outbox else tick)
    return min((each for each in ticks if each is not None), default=None)


def resume_ticks(
    link: Link, sources: Iterable[Adopted | None], catch_ups: CatchUps, tick: int
) -> dict[Adopted | None, int | None]:
    """`resume_tick` of several logs."""
    return {source: resume_tick(link, source, catch_ups, tick) for source in sources}


def first_needed(
    source: Adopted | None,
    links: Iterable[Link],
    sessions: Iterable[Routed],
    catch_ups: CatchUps,
    tick: int,
) -> int | None:
    """The first tick of a log that somebody still needs; None: nobody needs any."""
    resumes = [resume_tick(link, source, catch_ups, tick) for link in links if link.pool.replays]
    needed = [each for each in resumes if each is not None]
    needed += [
        seat.since
        for routed in sessions
        if routed.source is source
        for seat in routed.seats.values()
        if seat.link is None
    ]
    if source is None:
        needed.append(tick)
    return min(needed, default=None)

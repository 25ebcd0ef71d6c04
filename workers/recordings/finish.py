"""Finish: from a recording's streams to its tracks, mix and manifest.

`finish_folder` is a function of the folder: done again it gives the same bytes, killed anywhere it
leaves what was there. `FinishLoop` does it to every recording that is due.
"""

import hashlib
import logging
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import msgspec

from workers.recordings import due, durable
from workers.recordings.contents import Contents, read_contents, session_ids
from workers.recordings.counters import FinishCounters
from workers.recordings.describe import call_start, describe
from workers.recordings.due import Due
from workers.recordings.folder import lock_folder
from workers.recordings.manifest import Manifest, Mix, write_manifest
from workers.recordings.mix import MixInput, make_mix
from workers.recordings.names import MIX, TRACKS
from workers.recordings.orphans import Orphans
from workers.recordings.placing import place
from workers.recordings.retire import retire
from workers.recordings.settings import RecordingSettings
from workers.recordings.tracks import TrackPlan, make_track, plan_tracks

US = 1_000_000
_STAGE = ".finish"
_RETRY_US_MIN = 1 * US
_RETRY_US_MAX = 600 * US
#: After an error of the disk: nothing is wrong with the recording.
_RETRY_DISK_US_MAX = 30 * US

_log = logging.getLogger(__name__)


def finish_folder(folder: Path, *, force: bool = False, sync: bool = True) -> Manifest | None:
    """Make a recording's files. The folder must be locked. Raises OSError; then none is half made.

    None, and nothing is touched, while a session is open (unless `force` ends it), and where the
    streams of earlier sessions have been removed: then what is there is all there will be.
    """
    contents = read_contents(folder)
    present = {session.id for session in contents.sessions}
    previous = contents.manifest
    if not present or not (force or contents.is_ended):
        return None
    if previous is not None and any(known.id not in present for known in previous.sessions):
        return None
    try:
        return _finish(folder, contents, present, sync=sync)
    finally:  # a disk that has refused needs the room
        shutil.rmtree(folder / _STAGE, ignore_errors=True)


def _finish(folder: Path, contents: Contents, present: set[str], *, sync: bool) -> Manifest:
    previous = contents.manifest
    stage = folder / _STAGE
    shutil.rmtree(stage, ignore_errors=True)
    durable.make_folders(folder, _STAGE, TRACKS, sync=False)
    manifest = _make(contents, stage, sync=sync)
    is_new = previous is None or previous.state == "open"
    if previous is not None:
        manifest = msgspec.structs.replace(manifest, revision=previous.revision)
    if is_new or manifest != previous:
        manifest = msgspec.structs.replace(manifest, revision=manifest.revision + 1)
        if previous is not None and not is_new:
            write_manifest(folder, msgspec.structs.replace(previous, state="open"), sync=sync)
    _put_in_place(folder, stage, manifest, sync=sync)
    write_manifest(folder, manifest, sync=sync)
    if session_ids(folder) - present:  # came while we worked
        write_manifest(folder, msgspec.structs.replace(manifest, state="open"), sync=sync)
    return manifest


def _make(contents: Contents, stage: Path, *, sync: bool) -> Manifest:
    """All files but the manifest, made in `stage`."""
    pieces = place(contents)
    plans = plan_tracks(pieces)
    sums = {}
    for plan in plans:
        make_track(plan, stage / plan.file, sync=sync)
        sums[plan.file] = _sha256(stage / plan.file)
    mix = _mix(plans, stage, sync=sync) if plans else None
    return describe(contents, pieces, plans, sums, mix)


def _mix(plans: list[TrackPlan], stage: Path, *, sync: bool) -> Mix:
    start, rate = call_start(plans), max(plan.sample_rate for plan in plans)
    inputs = [
        MixInput(stage / plan.file, plan.sample_rate, plan.samples, plan.starts - start)
        for plan in plans
        if plan.samples
    ]
    samples = make_mix(inputs, rate, stage / MIX, sync=sync)
    return Mix(file=MIX, samples=samples, sha256=_sha256(stage / MIX))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _put_in_place(folder: Path, stage: Path, manifest: Manifest, *, sync: bool) -> None:
    """Everything under its name, and nothing else of an earlier revision."""
    tracks = durable.make_folders(folder, TRACKS, sync=sync)
    names = {track.file for track in manifest.tracks}
    for name in sorted(names):
        _rename(stage / name, folder / name)
    for old in tracks.iterdir():
        if f"{TRACKS}/{old.name}" not in names:
            old.unlink()
    if manifest.mixed is not None:
        _rename(stage / MIX, folder / MIX)
    else:
        (folder / MIX).unlink(missing_ok=True)
    shutil.rmtree(stage)
    if sync:
        durable.sync_folder(tracks)
        durable.sync_folder(folder)


def _rename(source: Path, target: Path) -> None:
    """Put a file in the place of another. For two names of one file `rename` does nothing."""
    os.rename(source, target)
    source.unlink(missing_ok=True)


class _Delay(NamedTuple):
    """Not to be looked at before `until_us`, after failing `failures` times, last of `fault`."""

    until_us: int
    failures: int
    fault: str = ""


class FinishLoop:
    """Finishes what is due under `recordings`; several processes may. Times are Unix us."""

    def __init__(
        self,
        recordings: Path,
        settings: RecordingSettings,
        counters: FinishCounters | None = None,
        orphans: Orphans | None = None,
    ) -> None:
        """Without `orphans`, sessions of dead gateways are ended by their logs alone."""
        self._recordings = recordings
        self._orphans = orphans
        self._redial_wait_us = round(settings.redial_wait_s * US)
        self._reopen_us = round(settings.reopen_s * US)
        self._sync = settings.durability == "power"
        self.counters = counters or FinishCounters()
        self._delays: dict[tuple[str, int], _Delay] = {}
        self._notes = due.Notes(recordings)
        #: Why nobody can tell what is due; empty where one can.
        self._fault = ""

    def turn(self, now_us: int, *, drain: bool = False) -> bool:
        """Do one thing that is due; False if there was none. Never raises for a bad recording.

        `drain`: wait for nobody to dial again.
        """
        try:
            if self._orphans is not None:
                self._orphans.turn(now_us, sync=self._sync)
                self.counters.sessions_orphaned = self._orphans.ended
            notes = self._notes.scan()
        except OSError as fault:
            self._note(fault)
            return False
        self._fault = ""
        self.counters.markers_bad = self._notes.bad
        known = {note.key for note in notes}
        self._delays = {key: delay for key, delay in self._delays.items() if key in known}
        return any(
            self._try(note, now_us, drain=drain)
            for note in notes
            if note.not_before_us <= now_us and self._is_time(note, now_us, drain=drain)
        )

    def storage_fault(self) -> str:
        """What keeps recordings from being finished; empty if nothing does."""
        failing = [delay.fault for delay in self._delays.values() if delay.fault]
        if failing:
            return (
                f"{len(failing)} recordings cannot be finished ({failing[0]}) and are tried again"
            )
        return self._fault

    def _note(self, fault: OSError) -> None:
        self.counters.storage_errors += 1
        said = f"what is due cannot be read: {fault.strerror or fault}"
        if said != self._fault:
            _log.error("finish: %s", said)
        self._fault = said

    def _is_time(self, note: Due, now_us: int, *, drain: bool) -> bool:
        delay = self._delays.get(note.key)
        if delay is None:
            return True
        return now_us >= delay.until_us or (drain and not delay.failures)

    def _try(self, note: Due, now_us: int, *, drain: bool) -> bool:
        try:
            with lock_folder(note.folder, wait=False) as is_ours:
                if not (is_ours and self._follow(note, now_us, drain=drain)):
                    return False
            self._delays.pop(note.key, None)
            return True
        except FileNotFoundError:
            if note.folder.exists():
                self._fail(note, now_us, "something has been taken away")
            else:  # somebody has deleted the recording
                self._put_away(note, now_us)
        except OSError as fault:
            self.counters.storage_errors += 1
            self._fail(note, now_us, fault.strerror or str(fault), _RETRY_DISK_US_MAX)
        except Exception as fault:  # one bad recording must not keep the others from being finished
            self._fail(note, now_us, type(fault).__name__)
            _log.exception("this is our fault: recording %s", note.folder.name)
        return False

    def _put_away(self, note: Due, now_us: int) -> None:
        try:
            due.put_away(note)
        except OSError as fault:
            self._fail(note, now_us, fault.strerror or str(fault), _RETRY_DISK_US_MAX)

    def _fail(self, note: Due, now_us: int, reason: str, wait_us_max: int = _RETRY_US_MAX) -> None:
        before = self._delays.get(note.key)
        failures = 1 if before is None else before.failures + 1
        wait_us = min(_RETRY_US_MIN << min(failures, 20), wait_us_max)
        self._delays[note.key] = _Delay(now_us + wait_us, failures, reason)
        self.counters.recordings_failed += 1
        _log.error(
            "recording %s could not be finished: %s; tried again in %d s",
            note.folder.name,
            reason,
            wait_us // US,
        )

    def _follow(self, note: Due, now_us: int, *, drain: bool) -> bool:
        if note.retires:
            if retire(self._recordings, note.folder):
                self.counters.recordings_retired += 1
            due.put_away(note)
            return True
        contents = read_contents(note.folder)
        until_us = 0 if drain else self._waits_until_us(contents, note, now_us)
        if until_us > now_us:
            self._delays[note.key] = _Delay(until_us, 0)
            return False
        taken = due.take(note)
        manifest = finish_folder(note.folder, sync=self._sync)
        if manifest is not None:
            self.counters.recordings_finished += 1
            self.counters.recordings_incomplete += manifest.state == "incomplete"
            due.mark_retirement(
                self._recordings, note.folder, now_us + self._reopen_us, sync=self._sync
            )
        due.put_away(taken)
        return True

    def _waits_until_us(self, contents: Contents, note: Due, now_us: int) -> int:
        """Until when ACS may dial again; 0 if it will not, or a session is open anyhow."""
        delay = self._delays.get(note.key)
        if delay is not None and now_us >= delay.until_us:
            return 0
        ends = [session.closed for session in contents.sessions if session.closed is not None]
        if not ends or not contents.is_ended:
            return 0
        last = max(ends, key=lambda end: end.closed_at_us)
        # A clock that was set back must not keep a recording open.
        return 0 if last.proper else min(last.closed_at_us, now_us) + self._redial_wait_us

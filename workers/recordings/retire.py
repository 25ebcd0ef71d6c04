"""Closing a recording for good: its stream files and the call's link go, a further session makes a
new recording.

Recorders may be about to write a session into it meanwhile. The link goes first and the streams are
moved away as one; a session that is found among them then brings both back.
"""

import os
import shutil
from pathlib import Path

from workers.recordings.contents import read_contents, session_ids
from workers.recordings.folder import release_folder, restore_folder
from workers.recordings.manifest import read_manifest
from workers.recordings.names import MANIFEST, STREAMS, parse_stream_file

_RETIRED = ".retired"


def retire(recordings: Path, folder: Path) -> bool:
    """Retire a finished recording, which must be locked. Raises OSError.

    False, and it stays as it is, when it is not finished or was opened again.
    """
    streams, retired = folder / STREAMS, folder / _RETIRED
    manifest = read_manifest(folder)
    if manifest is None or manifest.state == "open":
        return False
    known = {session.id for session in manifest.sessions}
    if not retired.exists():
        if session_ids(folder) != known or not read_contents(folder).is_ended:
            return False
        release_folder(recordings, manifest.call_id, folder)
        os.rename(streams, retired)
    if _sessions_in(retired) - known:
        if not streams.exists():
            os.rename(retired, streams)
        restore_folder(recordings, manifest.call_id, folder)
        return False
    shutil.rmtree(retired)
    for left in folder.glob(f".{MANIFEST}.*"):  # by processes that were killed
        left.unlink()
    return True


def _sessions_in(streams: Path) -> set[str]:
    return {found[0] for found in map(parse_stream_file, os.listdir(streams)) if found is not None}

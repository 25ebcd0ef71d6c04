"""What was changed on the disk and is not safe yet: all of it is made safe together.

Each file and each folder is synced once, however many names or lines it got meanwhile, and the
kernel begins to write all of them before the first is waited for.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from workers.recordings import durable
from workers.recordings.descriptions import append

_OPEN_FILES_MAX = 256


class _Whole(NamedTuple):
    """A file that has its content and not yet its name."""

    temporary: Path
    path: Path
    replaces: bool


class Touched:
    """Files stay open until they are safe, so few at a time. Raises OSError; then begin again."""

    def __init__(self, *, sync: bool) -> None:
        """Without `sync` the disk is left to the kernel."""
        self.sync = sync
        self._descriptors: list[int] = []
        self._whole: list[_Whole] = []
        self._folders: dict[str, None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def make_room(self) -> None:
        """Have room for the files of one stream, so that they stay open together."""
        if len(self._descriptors) >= _OPEN_FILES_MAX:
            self.make_safe()

    def open(self, path: str | Path, flags: int) -> int:
        """A descriptor that is ours to close."""
        descriptor = durable.open_file(path, flags)
        self._descriptors.append(descriptor)
        return descriptor

    def add_folder(self, folder: str | Path) -> None:
        """There are names in it that may not be safe, whoever made them."""
        self._folders[str(folder)] = None

    def make_folders(self, base: Path, *names: str) -> Path:
        """`base/name/name/...`, each made where it is missing. Returns the last."""
        folder = base.joinpath(*names)
        try:
            durable.make_folder(folder)
        except FileNotFoundError:
            if len(names) < 2:
                raise
            self.make_folders(base, *names[:-1])
            durable.make_folder(folder)
        for parent, _ in zip(folder.parents, names, strict=False):
            self.add_folder(parent)
        return folder

    def append(self, path: Path, lines: list[bytes], *, may_be_new: bool = True) -> None:
        """Append to a file. One that cannot be new must be there, and its name be safe."""
        self.make_room()
        flags = os.O_WRONLY | os.O_APPEND
        append(self.open(path, flags | os.O_CREAT if may_be_new else flags), lines)
        if may_be_new:
            self.add_folder(path.parent)

    def create(self, path: Path, data: bytes) -> None:
        """`path` is there whole once all is safe, with `data` unless it is there by then."""
        self._write(_Whole(durable.temporary(path), path, replaces=False), data)

    def replace(self, path: Path, data: bytes) -> None:
        """Put `data` in the place of whatever `path` is, once all is safe."""
        self._write(_Whole(durable.temporary(path), path, replaces=True), data)

    def _write(self, whole: _Whole, data: bytes) -> None:
        self.make_room()
        descriptor = self.open(whole.temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        self._whole.append(whole)
        durable.write_all(descriptor, data, 0)

    def make_safe(self) -> None:
        """Sync everything and close it."""
        if self.sync:
            for descriptor in self._descriptors:
                durable.start_writing(descriptor)
            for descriptor in self._descriptors:
                os.fdatasync(descriptor)
        while self._whole:  # a name never stands for less than the whole: after its content
            _give_name(self._whole[-1])
            self.add_folder(self._whole.pop().path.parent)
        self.sync_folders()
        self.close()

    def sync_folders(self) -> None:
        """Make the names safe now, which may be of files that are not."""
        if self.sync:
            for folder in self._folders:
                durable.sync_folder(folder)
        self._folders.clear()

    def close(self) -> None:
        """Close everything; what was not made safe is written again by the next try."""
        while self._descriptors:
            os.close(self._descriptors.pop())
        while self._whole:
            with suppress(OSError):
                os.unlink(self._whole.pop().temporary)


def _give_name(whole: _Whole) -> None:
    if whole.replaces:
        os.rename(whole.temporary, whole.path)
        return
    with suppress(FileExistsError):
        os.link(whole.temporary, whole.path)
    os.unlink(whole.temporary)

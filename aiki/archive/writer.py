"""Appending to the files of an archive, so that whatever dies, what was confirmed is there.

A file is a sequence of gzip members, one per call: it can be read by `zcat` and its like at any time. A member counts once it is whole,
and `write_records` returns once it is on the disk. A crash leaves a member that is cut off at the end; nobody has been told that it is
there, so whoever appends next cuts it off. Writers take turns, by a lock on the file that the system gives back when they die.
"""

import gzip
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from aiki.archive.record import ArchivedRun, members

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["write_records"]


def write_records(file: Path, records: Iterable[ArchivedRun], known: dict[Path, int] | None = None) -> Path:
    """Append records to a file, made when it is not there; answers the file, which is another one beside it when that is damaged.

    `known`, kept by the caller, remembers up to where files are known to be whole, so that they are not read again each time.

    When this has returned, they are on the disk. Raises `OSError`; then it may be called again.
    """
    member = gzip.compress(b"".join(record.to_json() + b"\n" for record in records))
    for number in range(1, 1000):
        chosen = file if number == 1 else _numbered(file, number)
        if _append(chosen, member, {} if known is None else known):
            return chosen
    raise OSError(f"{file} and all the files beside it are damaged")


def _append(file: Path, member: bytes, known: dict[Path, int]) -> bool:
    """False when the file is not ours to append to."""
    is_new = not file.exists()
    with file.open("a+b") as opened:
        if fcntl is not None:
            fcntl.flock(opened, fcntl.LOCK_EX)
        try:
            end = _whole(opened, known.get(file, 0))
        except zlib.error:
            return False
        opened.truncate(end)
        opened.write(member)
        opened.flush()
        os.fsync(opened.fileno())
        known[file] = end + len(member)
    if is_new:
        _sync_folder(file.parent)
    return True


def _whole(opened: BinaryIO, known: int) -> int:
    """Where the last whole member ends. What was whole once stays so, unless the file is another one now."""
    end = known if known <= opened.seek(0, os.SEEK_END) else 0
    opened.seek(end)
    return max((whole for _, whole in members(opened)), default=end)


def _numbered(file: Path, number: int) -> Path:
    name, *endings = file.name.split(".", 1)
    return file.with_name(".".join([f"{name}~{number}", *endings]))


def _sync_folder(folder: Path) -> None:
    """A file that was made is there after a power cut once its folder is on the disk."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""The record of one run as a line of JSON, and files of such lines."""

import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, Self

import msgspec

from aiki.journal import RunState, decode_state
from aiki.types.errors import PayloadError

__all__ = ["ArchivedRun", "members", "read_records"]

GZIP = b"\x1f\x8b"
CHUNK = 1 << 18

_log = logging.getLogger("aiki.archive")


class ArchivedRun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that there is of a run: its state and the sealed segments of its journal, base64 of what the store had, payloads included.

    Instants are seconds since the epoch. The document that `aiki run history ID --export FILE` writes is one of these, too.
    """

    format: Literal[1] = 1
    run_id: str
    workflow: str
    version: str
    region: str = ""
    outcome: str = ""
    """The state in which it ended."""
    key: str | None = None
    created_at: float = 0.0
    ended_at: float = 0.0
    archived_at: float = 0.0
    state: bytes
    segments: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, state: RunState, value: bytes, segments: tuple[bytes, ...], *, region: str, now: float) -> Self:
        """The record of a run with this state, which is encoded in `value`."""
        return cls(
            run_id=state.run_id,
            workflow=state.workflow,
            version=state.version,
            region=region,
            outcome=state.status,
            key=state.key,
            created_at=state.created_at,
            ended_at=state.finished_at or state.updated_at,
            archived_at=now,
            state=value,
            segments=segments,
        )

    @classmethod
    def from_json(cls, document: bytes) -> Self:
        """`PayloadError` when it is something else."""
        try:
            record = msgspec.json.decode(document, type=cls)
            if record.outcome:
                return record
            state = decode_state(record.state)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise PayloadError(f"this is no record of a run: {error}", where="record", reason=str(error)) from error
        return cls.of(state, record.state, record.segments, region=record.region, now=record.archived_at)

    def to_json(self) -> bytes:
        """One line, without its end."""
        return msgspec.json.encode(self)

    @property
    def end(self) -> tuple[str, float]:
        """What tells this record from others: a run that is retried ends more than once."""
        return self.run_id, self.ended_at


def read_records(file: Path) -> Iterator[ArchivedRun]:
    """The records in a file, compressed or not, one or many, in their order; one that was written twice comes twice.

    What a crash has left at the end of a compressed file, cut off or damaged, is left out: nobody was told that it is there. The latter is
    logged. `PayloadError`, which names the file, when it is something else.
    """
    try:
        with file.open("rb") as opened:
            if opened.read(2) != GZIP:
                opened.seek(0)
                yield from _plain(opened.read())
                return
            opened.seek(0)
            whole = 0
            try:
                for data, end in members(opened):
                    whole = end
                    yield from (ArchivedRun.from_json(line) for line in data.splitlines())
            except zlib.error as error:
                if not whole:
                    raise
                _log.warning("%s is damaged after byte %d: what follows is left out (%s)", file, whole, error)
    except OSError as error:
        raise PayloadError(f"{file} cannot be read: {error.strerror}", where=str(file), reason=str(error)) from error
    except zlib.error as error:
        raise PayloadError(f"{file} is damaged: {error}", where=str(file), reason=str(error)) from error
    except PayloadError as error:
        raise PayloadError(f"{file}: {error.message}", where=str(file), reason=error.message) from error


def _plain(data: bytes) -> Iterator[ArchivedRun]:
    lines = [line for line in data.splitlines() if line.strip()]
    if lines and lines[0].strip() == b"{":  # one document, laid out for people
        lines = [data]
    return (ArchivedRun.from_json(line) for line in lines)


def members(opened: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """What each whole member of a gzip file holds, and where it ends, from the place on where the file is open.

    A last one that is cut off is left out; `zlib.error` when it is no such file.
    """
    end = opened.tell()
    rest = b""
    while True:
        member = zlib.decompressobj(wbits=31)
        parts: list[bytes] = []
        size = 0
        while not member.eof:
            chunk = rest or opened.read(CHUNK)
            rest = b""
            if not chunk:
                return
            parts.append(member.decompress(chunk))
            size += len(chunk)
        rest = member.unused_data
        end += size - len(rest)
        yield b"".join(parts), end

"""The workflow `audit`: is everything that is installed here still what was installed?

Each distribution brings a file RECORD that lists its files and their hashes. The workflow lists the distributions, verifies each in a task
of its own, all in parallel, and sums up. `make demo` runs it, and kills its worker half-way.
"""

import asyncio
import base64
import csv
import hashlib
import importlib.metadata
import os
import time
from pathlib import Path

import msgspec

from aiki.sdk import Context, task, workflow

BODIES_LOG = "AIKI_AUDIT_BODIES"
"""The environment variable that names a file in which each body of `verify` notes that it has begun."""

CHUNK = 1 << 20


class Distribution(msgspec.Struct):
    """An installed distribution, and the folder that holds its RECORD."""

    name: str
    version: str
    folder: str


class Verdict(msgspec.Struct):
    """What became of one distribution's files. Files without a hash in RECORD (RECORD itself, byte code) can only be there or missing."""

    name: str
    version: str
    ok: int = 0
    unhashed: int = 0
    missing: list[str] = []
    changed: list[str] = []
    bytes_hashed: int = 0


class Totals(msgspec.Struct):
    """All verdicts added up."""

    distributions: int
    ok: int
    unhashed: int
    missing: int
    changed: int
    bytes_hashed: int


class Report(msgspec.Struct):
    """What the workflow returns. `seconds`: from its first line to its last."""

    totals: Totals
    seconds: float
    verdicts: list[Verdict]


def installed() -> list[Distribution]:
    """The distributions of this environment that have a RECORD."""
    found: dict[str, Distribution] = {}
    for each in importlib.metadata.distributions():
        record = next((file for file in each.files or () if file.match("*.dist-info/RECORD")), None)
        if record is not None:
            # The first on the path is the one that would be imported.
            found.setdefault(each.name.lower(), Distribution(each.name, each.version, str(Path(str(record.locate())).parent)))
    return [found[name] for name in sorted(found)]


@task(name="verify")
def verify(distribution: Distribution) -> Verdict:
    """Hash every file that RECORD lists and compare."""
    _note_begin(distribution)
    folder = Path(distribution.folder)
    verdict = Verdict(distribution.name, distribution.version)
    with (folder / "RECORD").open(newline="", encoding="utf-8") as record:
        for name, expected, _size in csv.reader(record):
            path = folder.parent / name
            if not path.is_file():
                verdict.missing.append(name)
            elif not expected:
                verdict.unhashed += 1
            else:
                algorithm, _, digest = expected.partition("=")
                verdict.bytes_hashed += path.stat().st_size
                if _digest(path, algorithm) == digest:
                    verdict.ok += 1
                else:
                    verdict.changed.append(name)
    return verdict


def _digest(path: Path, algorithm: str) -> str:
    """As RECORD spells it: URL-safe base64 without padding."""
    hasher = hashlib.new(algorithm)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            hasher.update(chunk)
    return base64.urlsafe_b64encode(hasher.digest()).rstrip(b"=").decode()


def _note_begin(distribution: Distribution) -> None:
    """One line in one write at the file's end: bodies in many threads and processes may do this at once."""
    if path := os.environ.get(BODIES_LOG):
        log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(log, f"{distribution.name}\t{os.getpid()}\t{time.time():.6f}\n".encode())
        finally:
            os.close(log)


@task(name="summarize")
async def summarize(verdicts: list[Verdict]) -> Totals:
    """Add the verdicts up."""
    return Totals(
        distributions=len(verdicts),
        ok=sum(verdict.ok for verdict in verdicts),
        unhashed=sum(verdict.unhashed for verdict in verdicts),
        missing=sum(len(verdict.missing) for verdict in verdicts),
        changed=sum(len(verdict.changed) for verdict in verdicts),
        bytes_hashed=sum(verdict.bytes_hashed for verdict in verdicts),
    )


@workflow(name="audit", version="1.0.0")
async def audit(ctx: Context) -> Report:
    """List, verify each in parallel, sum up."""
    began = ctx.now()
    distributions = await ctx.step("list", installed)
    verdicts = await asyncio.gather(*(verify.run(ctx, distribution) for distribution in distributions))
    totals = await summarize.run(ctx, verdicts)
    return Report(totals, (ctx.now() - began).total_seconds(), verdicts)

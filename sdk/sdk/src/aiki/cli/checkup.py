"""The findings of `aiki doctor`."""

import secrets
import time
from typing import Literal, NamedTuple

import msgspec

from aiki.actors import streams
from aiki.cli.output import span
from aiki.client import Client
from aiki.transport.port import StreamSpec

__all__ = ["Finding", "check_all"]

SKEW_WARN = 1.0
"""Seconds that clocks may differ: alarms and time-outs are compared across machines."""
LEAST_PAYLOAD = 1 << 20
PROBE_TTL = 60.0


class Finding(NamedTuple):
    """One line of the report."""

    level: Literal["ok", "warn", "FAIL"]
    check: str
    finding: str


async def check_all(client: Client) -> list[Finding]:
    """All checks, in the order of a conversation: can we talk, is everything there, will it last, do we agree on the time."""
    server = client.transport.server()
    cluster = f"cluster {server.cluster!r}" if server.cluster else "a single server"
    findings = [Finding("ok", "server", f"NATS {server.version}, {cluster}, JetStream API level {server.api_level}")]
    # Heartbeats are not meant to last: workers make their bucket when there is none.
    lasting = [spec for spec in streams(client.subjects) if spec.name != client.subjects.beats_stream]
    found = [(spec, await client.transport.stream(spec.name)) for spec in lasting]
    present = [spec for _, spec in found if spec is not None]
    mended_by = f"aiki init --region {client.region}{' --update' if present else ''}"
    findings += [_stream(wanted, is_now, mended_by) for wanted, is_now in found]
    if present:
        findings.append(_durability(present))
    if len(present) == len(found):
        findings += await _clock(client)
        findings.append(await _workers(client))
        findings.append(await _dead_letters(client))
    level: Literal["ok", "warn"] = "ok" if server.max_payload >= LEAST_PAYLOAD else "warn"
    findings.append(Finding(level, "max_payload", f"{server.max_payload:,} bytes: one input, one result, and one run's hot state must fit"))
    return findings


def _stream(wanted: StreamSpec, present: StreamSpec | None, mended_by: str) -> Finding:
    where = f"stream {wanted.name}"
    if present is None:
        return Finding("FAIL", where, f"missing: run `{mended_by}`")
    # Replicas, storage and placement are the operator's choice.
    wanted = msgspec.structs.replace(wanted, replicas=present.replicas, storage=present.storage, placement_tags=present.placement_tags)
    different = [
        f"{name} is {getattr(present, name)!r}, not {getattr(wanted, name)!r}"
        for name in wanted.__struct_fields__
        if name != "allow_rollup" and _plain(getattr(present, name)) != _plain(getattr(wanted, name))
    ]
    if different:
        return Finding("FAIL", where, f"{'; '.join(different)}: run `{mended_by}`")
    return Finding("ok", where, f"{present.storage}, {present.replicas} replica{'s' if present.replicas > 1 else ''}")


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, tuple) and all(isinstance(item, str) for item in value) else value


def _durability(present: list[StreamSpec]) -> Finding:
    """`sync_interval` is not told to clients, so with one replica all that can be said is what would be lost."""
    in_memory = [spec.name for spec in present if spec.storage == "memory"]
    if in_memory:
        return Finding("warn", "durability", f"in memory, so gone with the server: {', '.join(in_memory)}")
    fewest = min(spec.replicas for spec in present)
    if fewest == 1:
        return Finding(
            "warn",
            "durability",
            "1 replica: unless the server is configured with `sync_interval: always` (clients cannot see that), "
            "a power cut can lose the last 2 minutes; killing the server loses nothing",
        )
    safer = "with `sync_interval: always` (clients cannot see that) also when all servers lose power at once"
    return Finding("ok", "durability", f"{fewest} replicas; {safer}")


async def _clock(client: Client) -> list[Finding]:
    """Store a message and compare the server's stamp with our clock around it."""
    subject = f"{client.subjects.mail_prefix}doctor.{secrets.token_hex(8)}"
    transport, stream = client.transport, client.subjects.mail_stream
    try:
        before, began = time.time(), time.perf_counter()
        await transport.publish(subject, b"", ttl=PROBE_TTL)
        took = time.perf_counter() - began
        stored = await transport.last(stream, subject)
    finally:
        await transport.purge(stream, subject)
    findings = [Finding("ok", "write", f"one durable write took {took * 1000:.1f} ms")]
    if stored is not None:
        # The stamp lies somewhere between: what exceeds that is a difference of the clocks.
        skew = max(before - stored.timestamp, stored.timestamp - (before + took), 0.0)
        level: Literal["ok", "warn"] = "ok" if skew < SKEW_WARN else "warn"
        difference = "less than 1 ms" if skew < 0.001 else span(skew)
        findings.append(Finding(level, "clocks", f"this machine's and the server's differ by {difference}"))
    return findings


async def _dead_letters(client: Client) -> Finding:
    letters = [letter async for letter in client.dead_letters()]
    if not letters:
        return Finding("ok", "dead letters", "none")
    latest = max(letters, key=lambda letter: letter.last_at)
    return Finding("warn", "dead letters", f"{len(letters)}, the latest {latest.id}: {latest.reason}; see `aiki dlq list`")


async def _workers(client: Client) -> Finding:
    workers = await client.workers()
    if not workers:
        return Finding("warn", "workers", "none has reported: runs wait until one starts (`aiki worker MODULE`)")
    return Finding("ok", "workers", ", ".join(worker.id for worker in workers))

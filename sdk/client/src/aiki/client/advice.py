"""What the measurements of all workers say about the settings of a task. Pure: from what was measured to proposals with their evidence."""

import math

import msgspec

from aiki.kv.measure_store import Measured

__all__ = ["ENOUGH", "Advice", "Proposal", "advise"]

ENOUGH = 100
"""Successful attempts below which nothing is proposed."""
ENOUGH_RETRIES = 20
LONG_BODY = 60.0
"""Seconds: a body that may take longer is worth a heartbeat."""


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """One setting. `now` is None where it is not set; durations are seconds; `evidence` says why in words."""

    setting: str
    now: float | int | tuple[str, ...] | None
    proposed: float | int | tuple[str, ...]
    evidence: str


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of a task or workflow within two weeks.

    Durations are seconds: of attempts that succeeded (of a workflow: of runs), and of waiting in the queue.
    `failure_rate` is the share of calls that failed for good. `note` says why nothing is proposed.
    """

    name: str
    kind: str
    samples: int
    p50: float
    p95: float
    p99: float
    longest: float
    queued_p50: float | None
    queued_p99: float | None
    failure_rate: float
    timeout: float | None
    errors: dict[str, int]
    proposals: tuple[Proposal, ...]
    note: str = ""


def advise(name: str, kind: str, seen: Measured) -> Advice:
    """What to do about it."""
    took, waited = seen.took, seen.waited
    calls = took.count + seen.failed
    proposals: list[Proposal] = []
    note = ""
    if took.count < ENOUGH:
        note = f"not enough history (n = {took.count} < {ENOUGH})"
    elif kind == "task":
        rules = (_timeout, _heartbeat, _concurrency, _attempts, _no_retry)
        proposals = [proposal for rule in rules if (proposal := rule(seen)) is not None]
    return Advice(
        name=name,
        kind=kind,
        samples=took.count,
        p50=took.quantile(0.5),
        p95=took.quantile(0.95),
        p99=took.quantile(0.99),
        longest=took.longest,
        queued_p50=waited.quantile(0.5) if waited.count else None,
        queued_p99=waited.quantile(0.99) if waited.count else None,
        failure_rate=seen.failed / calls if calls else 0.0,
        timeout=seen.settings.timeout,
        errors={error: count.failed for error, count in sorted(seen.errors.items(), key=lambda each: -each[1].failed)},
        proposals=tuple(proposals),
        note=note or ("" if proposals else "nothing to change"),
    )


def _timeout(seen: Measured) -> Proposal | None:
    took, now = seen.took, seen.settings.timeout
    p99 = took.quantile(0.99)
    proposed = _rounded(max(3 * p99, 1.2 * took.longest, 0.1))
    cut = sum(count.failed for error, count in seen.errors.items() if error.endswith("(timeout)") or error.endswith("TaskTimedOut"))
    evidence = f"p99 of {took.count} attempts is {_text(p99)}, the longest {_text(took.longest)}: 3 x p99, and at least 1.2 x the longest"
    if cut and now is not None:
        # What was cut off would have taken longer than anything that was seen.
        if cut * 100 <= took.count:
            return None
        proposed = _rounded(2 * now)
        evidence = f"{cut} attempts were cut off at {_text(now)}, and {took.count} were not: more than 1% would have taken longer"
    elif now is not None and 0.5 <= now / proposed <= 2:
        return None
    return Proposal(setting="timeout", now=now, proposed=proposed, evidence=evidence)


def _heartbeat(seen: Measured) -> Proposal | None:
    took = seen.took
    if seen.settings.heartbeat is not None or took.quantile(0.99) < LONG_BODY:
        return None
    proposed = _rounded(min(max(took.quantile(0.5) / 10, 5.0), 60.0))
    evidence = (
        f"1% of the attempts take over {_text(took.quantile(0.99))}: without heartbeats one that hangs is noticed only after its timeout"
    )
    return Proposal(setting="heartbeat", now=None, proposed=proposed, evidence=evidence)


def _concurrency(seen: Measured) -> Proposal | None:
    took = seen.took
    busy = seen.busiest * took.mean
    if busy < 1:
        return None
    evidence = (
        f"in its busiest minute one worker ended {seen.busiest:.3g} calls a second of {_text(took.mean)} on average: "
        f"{busy:.3g} at a time (Little's law), and half as many again for peaks"
    )
    return Proposal(setting="max_concurrent_tasks", now=None, proposed=math.ceil(1.5 * busy), evidence=evidence)


def _attempts(seen: Measured) -> Proposal | None:
    allowed = seen.settings.max_attempts
    useful = max((number for number, count in seen.succeeded.items() if count), default=1)
    beyond = sum(count for number, count in seen.attempts.items() if number > useful)
    shares = ", ".join(
        f"{seen.succeeded.get(number, 0)} of {count} at attempt {number}" for number, count in sorted(seen.attempts.items())[:5]
    )
    if beyond >= ENOUGH_RETRIES and useful < allowed:
        evidence = f"succeeded: {shares}; none of {beyond} attempts after number {useful} did"
        return Proposal(setting="max_attempts", now=allowed, proposed=useful, evidence=evidence)
    at_last = seen.attempts.get(allowed, 0)
    if allowed > 1 and at_last >= ENOUGH_RETRIES and seen.succeeded.get(allowed, 0) * 4 >= at_last:
        evidence = f"succeeded: {shares}; the last attempt still helps, so one more may"
        return Proposal(setting="max_attempts", now=allowed, proposed=allowed + 1, evidence=evidence)
    return None


def _no_retry(seen: Measured) -> Proposal | None:
    known = set(seen.settings.no_retry_on)
    never = sorted(
        error for error, count in seen.errors.items() if error not in known and count.retried >= ENOUGH_RETRIES and not count.recovered
    )
    if not never:
        return None
    evidence = "; ".join(f"none of {seen.errors[error].retried} retries after {error} succeeded" for error in never)
    return Proposal(setting="no_retry_on", now=seen.settings.no_retry_on or None, proposed=tuple(never), evidence=evidence)


def _rounded(value: float) -> float:
    """Up, to two significant digits."""
    scale = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(round(value / scale, 6)) * scale:.6g}")


def _text(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"

"""What a worker counts, and what that comes to when many report it."""

import asyncio

import pytest

from aiki.actors import init
from aiki.actors.attempts import AttemptLimits, Ended
from aiki.actors.measures import Measures
from aiki.actors.tally import KEPT, MOST_NAMES, Tallies
from aiki.clock import VirtualClock, run_virtual
from aiki.kv import MeasureStore
from aiki.transport import Faults, MemoryServer
from aiki.types.failure import ErrorInfo
from aiki.types.messages import Attempt
from aiki.types.retry import Retry
from aiki.types.subjects import Subjects

RETRY = Retry.fixed(max_attempts=4, delay=1)
NO_LIMITS = AttemptLimits(timeout=30)


def failure(number: int, kind: str = "Boom") -> Attempt:
    return Attempt(number, 0.0, 1.0, "w", ErrorInfo(type=kind))


def done(tallies: Tallies, took: float = 1.0, *failed: Attempt, first: int = 1, name: str = "t") -> None:
    tallies.task(name).ended(Ended(b"1", None, 100.0, failed), 100.0 + took, first, RETRY, NO_LIMITS)


def test_many_durations_leave_an_even_sample() -> None:
    tallies = Tallies()
    for number in range(100_000):
        done(tallies, 1.0 + number / 100_000)
    values = tallies.task("t").took.values
    assert KEPT / 2 <= len(values) < KEPT
    [(_, seen)] = tallies.take(200.0, 60.0)
    assert seen.took.count == 100_000
    assert seen.took.longest == pytest.approx(2.0, abs=1e-4)
    assert seen.took.quantile(0.5) == pytest.approx(1.5, rel=0.03)
    assert seen.took.quantile(0.99) == pytest.approx(1.99, rel=0.03)
    assert tallies.take(300.0, 60.0) == []


def test_attempts_and_errors() -> None:
    tallies = Tallies()
    tally = tallies.task("t")
    done(tallies, 1.0, failure(1), failure(2, "Other"))
    done(tallies, 1.0, first=3)
    tally.ended(Ended(b"", ErrorInfo(type="Boom"), 5.0, (failure(1), failure(2))), 6.0, 1, RETRY, NO_LIMITS)
    tally.ended(Ended(b"", ErrorInfo(type="Boom"), 5.0, (failure(2),), 60.0), 6.0, 2, RETRY, NO_LIMITS)
    tally.ended(Ended(b"", ErrorInfo(type="Late", limit="timeout"), 5.0), 6.0, 1, RETRY, NO_LIMITS)
    [(key, seen)] = tallies.take(60.0, 60.0)
    assert key == ("task", "t")
    assert (seen.took.count, seen.failed) == (2, 2)
    assert seen.attempts == {2: 3, 3: 3}
    assert seen.succeeded == {2: 0, 3: 2}
    errors = {kind: (count.failed, count.retried, count.recovered) for kind, count in seen.errors.items()}
    assert errors == {"Boom": (5, 3, 1), "Other": (1, 1, 1), "Late (timeout)": (1, 0, 0)}
    assert (seen.settings.timeout, seen.settings.max_attempts) == (30, 4)


def test_names_that_a_workflow_makes_up_are_bounded() -> None:
    tallies = Tallies()
    for number in range(3 * MOST_NAMES):
        done(tallies, name=f"step {number}")
    assert len(tallies.take(60.0, 60.0)) == MOST_NAMES


def report_from_many(faults: Faults) -> int:
    async def main(clock: VirtualClock) -> int:
        server = MemoryServer(clock, seed=1)
        subjects = Subjects("default")
        await init(server.connect("operator"))
        server.faults = faults
        workers = []
        for number in range(5):
            tallies = Tallies()
            workers.append((tallies, Measures(tallies, MeasureStore(server.connect(f"w{number}"), subjects), clock.now())))
        for _ in range(10):
            for tallies, _measures in workers:
                done(tallies)
            await asyncio.sleep(60)
            await asyncio.gather(*(measures.report(clock.now()) for _, measures in workers))
        server.faults = Faults()
        for _ in range(3):
            for _tallies, measures in workers:
                await measures.report(clock.now())
        found = await MeasureStore(server.connect("reader"), subjects).read("task")
        return found["t"].took.count

    return run_virtual(main)


def test_all_workers_add_to_one_entry() -> None:
    assert report_from_many(Faults(delay=(0.0005, 0.01))) == 50


def test_nothing_is_counted_twice() -> None:
    assert 25 <= report_from_many(Faults(lose=0.05, unknown=0.1, delay=(0.0005, 0.01))) <= 50

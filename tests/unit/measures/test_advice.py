"""What the measurements say."""

from aiki.client.advice import Advice, advise
from aiki.kv import Measured
from aiki.kv.measure_store import ErrorCount, TaskSettings
from aiki.types.sketch import Sketch


def took(*parts: tuple[int, float]) -> Sketch:
    values = [value for number, value in parts for _ in range(number)]
    sketch = Sketch(count=len(values), total=sum(values), longest=max(values), bins={})
    for value in values:
        sketch.add(value)
    return sketch


def proposals(found: Advice) -> dict[str, object]:
    return {each.setting: each.proposed for each in found.proposals}


def test_too_little_history_says_so() -> None:
    found = advise("t", "task", Measured(took=took((99, 1.0))))
    assert found.proposals == ()
    assert found.note == "not enough history (n = 99 < 100)"


def test_a_timeout_has_room_for_the_longest_that_was_seen() -> None:
    assert proposals(advise("t", "task", Measured(took=took((995, 1.0), (5, 2.0)))))["timeout"] == 3.0
    assert proposals(advise("t", "task", Measured(took=took((999, 1.0), (1, 100.0)))))["timeout"] == 120
    fits = Measured(took=took((1000, 1.0)), settings=TaskSettings(timeout=4.0))
    assert "timeout" not in proposals(advise("t", "task", fits))


def test_a_timeout_that_cuts_bodies_off_is_not_judged_by_those_that_it_spared() -> None:
    errors = {"aiki.types.errors.TaskTimedOut (timeout)": ErrorCount(50)}
    found = advise("t", "task", Measured(took=took((1000, 1.0)), errors=errors, settings=TaskSettings(timeout=1.5)))
    [proposal] = [each for each in found.proposals if each.setting == "timeout"]
    assert (proposal.now, proposal.proposed) == (1.5, 3.0)
    assert proposal.evidence == "50 attempts were cut off at 1.5 s, and 1000 were not: more than 1% would have taken longer"


def test_long_bodies_want_heartbeats() -> None:
    assert proposals(advise("t", "task", Measured(took=took((200, 300.0)))))["heartbeat"] == 30
    assert "heartbeat" not in proposals(advise("t", "task", Measured(took=took((200, 300.0)), settings=TaskSettings(heartbeat=5))))


def test_concurrency_by_littles_law() -> None:
    found = advise("t", "task", Measured(took=took((200, 2.0)), busiest=10.0, settings=TaskSettings(timeout=7)))
    [proposal] = found.proposals
    assert (proposal.setting, proposal.proposed) == ("max_concurrent_tasks", 30)
    assert "20 at a time" in proposal.evidence


def test_attempts_that_never_help_are_not_worth_making() -> None:
    seen = Measured(
        took=took((1000, 1.0)),
        attempts={2: 100, 3: 40, 4: 40, 5: 40},
        succeeded={2: 60, 3: 0, 4: 0, 5: 0},
        settings=TaskSettings(timeout=4, max_attempts=5),
    )
    [proposal] = advise("t", "task", seen).proposals
    assert (proposal.setting, proposal.now, proposal.proposed) == ("max_attempts", 5, 2)
    assert proposal.evidence.startswith("succeeded: 60 of 100 at attempt 2, 0 of 40 at attempt 3")
    seen.succeeded[5] = 30
    [proposal] = advise("t", "task", seen).proposals
    assert (proposal.setting, proposal.proposed) == ("max_attempts", 6)


def test_errors_that_never_pass_are_not_worth_a_retry() -> None:
    errors = {
        "ValueError": ErrorCount(90, 60, 0),
        "OSError": ErrorCount(90, 60, 1),
        "Rare": ErrorCount(3, 3, 0),
        "KeyError": ErrorCount(90, 60, 0),
    }
    seen = Measured(took=took((1000, 1.0)), errors=errors, settings=TaskSettings(timeout=4, no_retry_on=("KeyError",)))
    [proposal] = advise("t", "task", seen).proposals
    assert (proposal.setting, proposal.now, proposal.proposed) == ("no_retry_on", ("KeyError",), ("ValueError",))
    assert proposal.evidence == "none of 60 retries after ValueError succeeded"

"""What clients see of a run, for each thing that it may wait for and each entry of its journal."""

from typing import get_args

import pytest

from aiki.cli.journal import entry_document, entry_rows
from aiki.client import WaitView
from aiki.client.views import run_view
from aiki.client.waits import wait_views
from aiki.client.words import message_views
from aiki.journal import (
    Alarm,
    CancelAsked,
    ChildRun,
    Continued,
    Entry,
    Ignored,
    Marked,
    Paused,
    PendingStep,
    Received,
    RecordedStep,
    Retried,
    RunState,
    StepsCancelled,
    Tick,
    Unpaused,
    Updated,
    Wait,
    WasReset,
    Woken,
)
from aiki.types.failure import ErrorInfo
from aiki.types.messages import NOT_BEGUN, Attempt

T0 = 1_700_000_000.0
CHILD = "c" * 26
ERROR = ErrorInfo(type="Boom", message="no")
EVERY: list[Entry] = [
    RecordedStep("charge:1", 0, "task", "charge", b"1", T0, T0 + 1, b"2", None, T0, "w1"),
    RecordedStep("child:1", 0, "child", "child", b"1", T0, T0 + 1, b"", ERROR, child=CHILD),
    Tick(T0 + 2),
    Retried(T0 + 3, ERROR),
    Woken(T0 + 4, "1"),
    Received(T0 + 5, "paid", b'{"amount":3}', "2"),
    Updated(T0 + 6, "book", b"5", "3"),
    StepsCancelled(T0 + 7, "4", "charge", "too dear"),
    Paused(T0 + 8, "5", "lunch"),
    Unpaused(T0 + 9, "6"),
    Ignored(T0 + 10, "7", "Unpause"),
    CancelAsked(T0 + 11, "8", "enough"),
    CancelAsked(T0 + 12, "9", "now", terminate=True),
    Marked(T0 + 13, "2026-11"),
    Continued(T0 + 14, ("1", "2")),
    WasReset(T0 + 15, "10", "charge:1", 0, "once more"),
]


def state(**fields: object) -> RunState:
    made = RunState(run_id="r", workflow="w", version="1", input=b"null", input_hash=b"", created_at=T0, started_at=T0, updated_at=T0 + 60)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def step(kind: str = "task", **fields: object) -> PendingStep:
    made = PendingStep("x:1", 0, kind, "x", b"null", T0 + 1)  # type: ignore[arg-type]
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (state(held=ERROR, paused=EVERY[8]), ("turns", 60, None, "the next delivery of its message, from time to time")),
        (state(paused=EVERY[8], pending=[step()]), ("pause", 8, None, "`resume` (or `cancel`)")),
        (state(begins_at=T0 + 90), ("start", 0, 90, "its alarm")),
        (state(retry_at=T0 + 90, pending=[step()]), ("attempt", 60, 90, "its alarm")),
        (state(pending=[step()]), ("task", 1, None, "its result, from a worker of queue 'default'")),
        (state(pending=[step(queue="q", deadline_at=T0 + 99)], queue="r"), ("task", 1, 99, "its result, from a worker of queue 'q'")),
        (state(pending=[step("local")]), ("step", 1, None, "its end, in the worker")),
        (state(pending=[step("local", due=T0 + 70)]), ("retry", 1, 70, "its alarm")),
        (state(pending=[step("child", child=ChildRun(CHILD, "x", "1"))]), ("child", 1, None, "the child's end")),
        (state(waits=[Wait(("a", "b"), T0 + 2)]), ("event", 2, None, "an event a or b")),
        (
            state(waits=[Wait(("a",), T0 + 2)], alarms=[Alarm(1, T0 + 70)]),
            ("event", 2, None, "an event a, or its alarm at 2023-11-14T22:14:30+00:00"),
        ),
        (state(alarms=[Alarm(1, T0 + 70)]), ("timer", 60, 70, "its alarm, or `wake`")),
    ],
)
def test_what_a_run_waits_for(given: RunState, expected: tuple[object, ...]) -> None:
    (wait,) = wait_views(given)
    assert said(wait) == expected
    assert run_view(given, [], 1).status.waiting_on == (wait.what,)


def said(wait: WaitView) -> tuple[object, ...]:
    return wait.kind, wait.since.timestamp() - T0, None if wait.until is None else wait.until.timestamp() - T0, wait.wakes


def test_a_run_that_has_ended_waits_for_nothing() -> None:
    assert wait_views(state(status="completed", pending=[step()])) == ()


def test_every_kind_of_entry_is_shown() -> None:
    assert {type(entry) for entry in EVERY} == set(get_args(Entry))
    documents = [entry_document(entry) for entry in EVERY]
    kinds = ["step", "step", "tick", "retried", "woken", "event", "update", "task-cancelled", "paused", "resumed", "ignored"]
    assert [each["entry"] for each in documents] == [*kinds, "cancelled", "terminated", "mark", "continued", "reset"]
    assert [each["payload"] for each in documents if "payload" in each] == [{"amount": 3}, 5]
    assert [each["reason"] for each in documents if "reason" in each] == ["too dear", "lunch", "enough", "now", "once more"]
    assert documents[1]["child"] == CHILD
    rows = entry_rows(EVERY)
    assert len(rows) == len(EVERY)
    assert all(row[-1] for row in rows)
    views = message_views(EVERY)
    assert [(view.what, view.name, view.reason, view.ignored) for view in views] == [
        ("wake", "", "", False),
        ("event", "paid", "", False),
        ("update", "book", "", False),
        ("cancel-task", "charge", "too dear", False),
        ("pause", "", "lunch", False),
        ("resume", "", "", False),
        ("resume", "", "", True),
        ("cancel", "", "enough", False),
        ("terminate", "", "now", False),
        ("reset", "charge", "once more", False),
    ]
    assert [view.id for view in views] == [str(number) for number in range(1, 11)]


def test_a_view_names_the_worker_the_parent_and_each_attempt() -> None:
    failed = (Attempt(1, T0, T0 + 1, "w1", ERROR),)
    view = run_view(state(worker="w2", parent=CHILD, pending=[step(failed=failed)]), EVERY, 1)
    assert (view.worker, view.parent, view.children) == ("w2", CHILD, ())
    assert [(each.name, each.state, each.child) for each in view.steps] == [
        ("charge", "completed", None),
        ("child", "failed", CHILD),
        ("x", "running", None),
    ]
    assert view.steps[-1].failed_attempts[0].error == ERROR


def test_a_step_that_the_cache_has_answered_shows_it() -> None:
    step = RecordedStep("charge:2", 0, "task", "charge", b"2", T0, T0 + 1, b"4", None, NOT_BEGUN, cached=True)
    [view] = run_view(state(), [step], 1).steps
    assert (view.cached, view.attempts, view.started_at, view.worker) == (True, 0, None, "")
    assert entry_document(step)["cached"] is True
    assert entry_rows([step])[0][4] == "(cache)"

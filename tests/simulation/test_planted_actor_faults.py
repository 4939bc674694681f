"""The simulation of actors notices when a rule of their protocol is broken: each planted fault is found within some hundred seeds."""

from typing import Any

import pytest

from aiki.entities import activation, state
from aiki.entities.activation import Activation
from aiki.entities.host import EntityHost
from aiki.entities.outbox import Outbox
from aiki.entities.state import EntityState
from tests.simulation.test_actors import FAULTS, simulate
from tests.simulation.test_planted_faults import Patch, write_without_a_fence

SEEDS = 600


def forget_what_was_applied(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(EntityState, "recorded", lambda self, call_id: None)


def forget_what_is_still_in_the_mailbox(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(state, "KEPT", 0)
    patch.setattr(state, "KEPT_LONG", 0)
    patch.setattr(state, "KEPT_SECONDS", 0.0)
    forget = EntityState.forget_old

    def all_of_it(self: EntityState, now: float) -> None:
        self.settle_mail(set())
        forget(self, now)

    patch.setattr(EntityState, "forget_old", all_of_it)


def judge_by_a_stale_view(patch: pytest.MonkeyPatch) -> None:
    settle = Activation.settle

    async def trusting(self: Activation, *, verify: bool = True) -> None:
        await settle(self, verify=False)

    patch.setattr(Activation, "settle", trusting)


def acknowledge_before_the_turn(patch: pytest.MonkeyPatch) -> None:
    take = EntityHost._on_mail

    def early(self: EntityHost, definition: Any, delivery: Any) -> None:
        delivery.ack()
        take(self, definition, delivery)

    patch.setattr(EntityHost, "_on_mail", early)


def strike_out_what_was_not_sent(patch: pytest.MonkeyPatch) -> None:
    async def flush(self: Outbox, state: EntityState, sent: set[int]) -> None:
        sent.update(entry.serial for entry in state.outbox)

    patch.setattr(Outbox, "flush", flush)


def let_nothing_stand_behind_an_ask(patch: pytest.MonkeyPatch) -> None:
    async def stand_behind(self: Outbox, state: EntityState, now: float) -> None: ...

    patch.setattr(Outbox, "stand_behind", stand_behind)


def take_what_is_old_for_new(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(activation, "doubt", lambda envelope: None)
    patch.setattr(state, "KEPT", 2)
    patch.setattr(state, "KEPT_SECONDS", 0.1)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "fault",
    [
        forget_what_was_applied,
        forget_what_is_still_in_the_mailbox,
        judge_by_a_stale_view,
        acknowledge_before_the_turn,
        strike_out_what_was_not_sent,
        let_nothing_stand_behind_an_ask,
        write_without_a_fence,
        take_what_is_old_for_new,
    ],
)
def test_planted_fault_is_found(fault: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch)
    for seed in range(SEEDS):
        try:
            simulate(seed, faults=FAULTS, kills=10, cuts=6 if fault is take_what_is_old_for_new else 0)
        except BaseException as error:
            print(f"{fault.__name__}: found with seed {seed}: {str(error)[:200]}")
            return
    pytest.fail(f"{fault.__name__} was not noticed in {SEEDS} seeds")

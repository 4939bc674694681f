"""The simulation of schedules notices when a rule of their protocol is broken: each planted fault is found within some hundred seeds."""

from typing import Any

import pytest

from aiki.client.schedules import Schedules
from aiki.schedules import OutEnd, ScheduleState, machine
from aiki.services.timer.service import TimerService
from aiki.services.timer.turn import Turn
from tests.simulation.test_planted_faults import Patch, write_without_a_fence
from tests.simulation.test_schedules import FAULTS, simulate

SEEDS = 600


def strike_out_what_was_not_sent(patch: pytest.MonkeyPatch) -> None:
    async def send(self: Turn, state: Any) -> None: ...

    patch.setattr(Turn, "_send", send)


def acknowledge_before_the_turn(patch: pytest.MonkeyPatch) -> None:
    take = TimerService._take

    def early(self: TimerService, delivery: Any) -> None:
        delivery.ack()
        take(self, delivery)

    patch.setattr(TimerService, "_take", early)


def change_without_announcing(patch: pytest.MonkeyPatch) -> None:
    async def announce(self: Schedules, id: str) -> None: ...

    patch.setattr(Schedules, "_announce", announce)


def take_what_was_told_to_end_for_ended(patch: pytest.MonkeyPatch) -> None:
    make_place = machine._make_place

    def at_once(state: ScheduleState, *rest: Any) -> None:
        make_place(state, *rest)
        state.running.clear()

    patch.setattr(machine, "_make_place", at_once)


def tell_no_run_to_end(patch: pytest.MonkeyPatch) -> None:
    send = Turn._send

    async def others(self: Turn, state: ScheduleState) -> None:
        state.outbox = [entry for entry in state.outbox if not isinstance(entry, OutEnd)]
        await send(self, state)

    patch.setattr(Turn, "_send", others)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "fault",
    [
        strike_out_what_was_not_sent,
        acknowledge_before_the_turn,
        change_without_announcing,
        write_without_a_fence,
        take_what_was_told_to_end_for_ended,
        tell_no_run_to_end,
    ],
)
def test_planted_fault_is_found(fault: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch)
    for seed in range(SEEDS):
        try:
            simulate(seed, faults=FAULTS, kills=10, commands=4)
        except BaseException as error:
            print(f"{fault.__name__}: found with seed {seed}: {str(error)[:200]}")
            return
    pytest.fail(f"{fault.__name__} was not noticed in {SEEDS} seeds")

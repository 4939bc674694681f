"""The simulation notices when a rule of the protocol is broken: each planted fault must strand or spoil a run within some hundred seeds."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from aiki.actors import report
from aiki.actors.activation import Activation
from aiki.actors.host import Host
from aiki.actors.outbox import Outbox
from aiki.actors.stored import StoredRun
from aiki.actors.work import Work
from aiki.transport.memory.transport import MemoryTransport
from tests.simulation.test_engine import FAULTS, simulate

SEEDS = 600

Patch = Callable[[pytest.MonkeyPatch], None]


def judge_by_a_stale_view(patch: pytest.MonkeyPatch) -> None:
    async def verify(self: StoredRun) -> None: ...

    patch.setattr(StoredRun, "verify", verify)


def acknowledge_when_overtaken(patch: pytest.MonkeyPatch) -> None:
    def settle(self: Activation, delay: float) -> None:
        self._settle_all()

    patch.setattr(Activation, "_refuse_all", settle)


def settle_a_copy_of_what_stands_behind_the_turn(patch: pytest.MonkeyPatch) -> None:
    def release(self: Activation) -> None:
        while len(self._held) > 1:
            self._held.pop().done()

    patch.setattr(Activation, "_release_early", release)


def acknowledge_before_sending(patch: pytest.MonkeyPatch) -> None:
    flush = Outbox.flush
    sending: list[asyncio.Future[None]] = []

    async def later(self: Outbox, *args: Any, **options: Any) -> None:
        async def send() -> None:
            await asyncio.sleep(0.3)
            await flush(self, *args, **options)

        sending.append(asyncio.ensure_future(send()))

    patch.setattr(Outbox, "flush", later)


def acknowledge_an_answered_dispatch(patch: pytest.MonkeyPatch) -> None:
    mail = report.mail

    async def drop(host: Host, dispatch: Any, message: Any, kind: str) -> None:
        if kind != "resume":
            await mail(host, dispatch, message, kind)

    patch.setattr(report, "mail", drop)


def run_an_answered_dispatch_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Work, "_is_doubtful", lambda self: False)


def write_without_a_fence(patch: pytest.MonkeyPatch) -> None:
    publish = MemoryTransport.publish

    def unfenced(self: MemoryTransport, subject: str, data: bytes, **options: Any) -> Any:
        options.pop("expect", None)
        return publish(self, subject, data, **options)

    patch.setattr(MemoryTransport, "publish", unfenced)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "fault",
    [
        judge_by_a_stale_view,
        acknowledge_when_overtaken,
        settle_a_copy_of_what_stands_behind_the_turn,
        acknowledge_before_sending,
        acknowledge_an_answered_dispatch,
        run_an_answered_dispatch_again,
        write_without_a_fence,
    ],
)
def test_planted_fault_is_found(fault: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch)
    for seed in range(SEEDS):
        try:
            simulate(seed, faults=FAULTS, kills=8, cached_runs=1 if seed % 4 == 0 else 5000)
        except BaseException as error:
            print(f"{fault.__name__}: found with seed {seed}: {str(error)[:200]}")
            return
    pytest.fail(f"{fault.__name__} was not noticed in {SEEDS} seeds")

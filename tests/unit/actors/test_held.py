"""Evidence, what is put aside, and what is kept, one by one."""

import pytest

from aiki.actors import init
from aiki.actors.evidence import Evidence, Poisoned, TriedElsewhere
from aiki.clock import SystemClock
from aiki.kv import DeadStore
from aiki.sdk import Context, LetterNotFound, event, workflow
from aiki.testing import TestEnvironment
from aiki.transport import MemoryServer, MemoryTransport
from aiki.types.errors import DefinitionError
from aiki.types.letters import DeadLetter
from aiki.types.subjects import Subjects

SUBJECTS = Subjects("default")
go_on = event("go_on", int)


class Scene:
    """Processes with evidence, each on a connection of its own."""

    def __init__(self) -> None:
        self.server = MemoryServer(SystemClock())
        self._numbers = 0

    async def open(self) -> MemoryTransport:
        transport = self.server.connect()
        await init(transport)
        return transport

    async def process(self, *, listens: bool = True) -> tuple[Evidence, MemoryTransport]:
        self._numbers += 1
        transport = self.server.connect()
        host = f"{SUBJECTS.host_prefix}h{self._numbers}"
        if listens:
            await transport.subscribe(host, lambda message: message.respond(b"absent"))
        return Evidence(transport, SUBJECTS, host, f"worker-{self._numbers}", SystemClock()), transport

    async def death(self, key: str, progress: int = 0) -> None:
        """A process takes it up and dies."""
        evidence, transport = await self.process()
        await evidence.take(key, progress=progress)
        transport.crash()


async def test_so_many_deaths_are_enough_and_the_living_do_not_count() -> None:
    scene = Scene()
    await scene.open()
    key = SUBJECTS.taken("run", 1)
    stalled, _ = await scene.process()
    await stalled.take(key)  # alive, though it never says that it is done
    for _ in range(4):
        await scene.death(key)
    evidence, _ = await scene.process()
    trial = await evidence.take(key)
    trial.given_back()
    await scene.death(key)
    with pytest.raises(Poisoned) as caught:
        await evidence.take(key)
    assert caught.value.workers == ("worker-2", "worker-3", "worker-4", "worker-5", "worker-7")
    with pytest.raises(Poisoned):
        await evidence.take(key, most=2)
    await evidence.clear(key)
    await evidence.take(key)


async def test_what_passes_begins_anew() -> None:
    scene = Scene()
    await scene.open()
    key = SUBJECTS.taken("run")
    for _ in range(4):
        await scene.death(key)
    evidence, _ = await scene.process()
    (await evidence.take(key)).passed()
    for _ in range(4):
        await scene.death(key)
    await evidence.take(key)


async def test_deaths_count_since_the_last_progress() -> None:
    scene = Scene()
    await scene.open()
    key = SUBJECTS.taken("run")
    for progress in range(3):
        for _ in range(4):
            await scene.death(key, progress)
    evidence, _ = await scene.process()
    await evidence.take(key, progress=2)
    await scene.death(key, 2)
    with pytest.raises(Poisoned):
        await evidence.take(key, progress=2)
    await evidence.take(key, progress=3)
    for progress in range(3, 10):
        await scene.death(key, progress)
    with pytest.raises(Poisoned):  # twenty in all
        await evidence.take(key, progress=11)


async def test_what_has_been_in_hand_at_two_deaths_is_tried_alone() -> None:
    scene = Scene()
    await scene.open()
    culprit, innocent, young = (SUBJECTS.taken("run", number) for number in (1, 2, 3))
    for _ in range(2):
        evidence, transport = await scene.process()
        await evidence.take(culprit)
        await evidence.take(innocent)
        transport.crash()
    await scene.death(young)
    for _ in range(3):
        evidence, transport = await scene.process()
        await evidence.take(young)
        await evidence.take(culprit)
        with pytest.raises(TriedElsewhere):
            await evidence.take(innocent)
        transport.crash()
        young = SUBJECTS.taken("run", 100)
    evidence, _ = await scene.process()
    with pytest.raises(Poisoned):
        await evidence.take(culprit)
    trial = await evidence.take(innocent)
    trial.passed()


async def test_without_the_bucket_work_goes_on() -> None:
    evidence = Evidence(MemoryServer(SystemClock()).connect(), SUBJECTS, "h", "w", SystemClock())
    (await evidence.take(SUBJECTS.taken("run", 1))).passed()


async def test_what_is_kept_is_as_it_was() -> None:
    scene = Scene()
    dead = DeadStore(await scene.open(), SUBJECTS)
    for number, data in ((10, b"ten"), (9, b"nine")):
        await dead.keep("letter", number, f"subject.{number}", data, {"Nats-Msg-Id": "1", "traceparent": "t"})
    kept = await dead.kept("letter")
    assert [(each.subject, each.data, each.headers) for each in kept] == [
        ("subject.9", b"nine", {"traceparent": "t"}),
        ("subject.10", b"ten", {"traceparent": "t"}),
    ]
    await dead.write(letter := letter_of("letter"))
    assert await dead.read("letter") == letter
    await dead.remove("letter")
    assert (await dead.read("letter"), await dead.kept("letter"), await dead.ids()) == (None, [], [])


def letter_of(id: str) -> DeadLetter:
    return DeadLetter(id=id, kind="message", reason="r", code="c", deliveries=1, first_at=1.0, last_at=1.0, subject="s")


@workflow(name="order")
async def order(ctx: Context) -> int:
    return await ctx.wait_for(go_on)


async def test_what_cannot_be_read_leaves_its_queue_and_is_listed() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(order)
        handle = await order.enqueue(env.client)
        await env.advance(1)
        transport, subjects = env.client.transport, env.client.subjects
        mailbox = f"{subjects.run_mail('order', '1.0.0')}{handle.id}"
        await transport.publish(mailbox, b"\xc7 garbage", headers={"from": "a stranger"})
        await env.advance(1)
        assert await transport.subjects(subjects.mail_stream, subjects.run_mail("order", "1.0.0") + ">") == []
        letters = env.client.dead_letters()
        (letter,) = [each async for each in letters]
        assert (letter.kind, letter.subject, letter.code) == ("message", mailbox, "unreadable")
        assert await letters.messages(letter.id) == [(mailbox, b"\xc7 garbage")]
        assert [each async for each in env.client.dead_letters(kind="run")] == []
        await letters.retry(letter.id)
        await env.advance(1)
        (letter,) = [each async for each in letters]
        await letters.drop(letter.id)
        assert [each async for each in letters] == []
        for missing in (letter.id, "", "a.b", "*"):
            with pytest.raises(LetterNotFound):
                await letters.get(missing)
        await handle.send(go_on, 1)
        assert await handle.wait_for_completion() == 1


async def test_filters_are_checked() -> None:
    async with TestEnvironment.in_memory() as env:
        with pytest.raises(DefinitionError, match="kind must be one of"):
            env.client.dead_letters(kind="nonsense")

"""What both transports promise about core messages."""

import asyncio

import pytest

from aiki.transport import Message, StreamSpec, Transport
from aiki.types.errors import NoResponders, RequestTimeout
from tests.integration.transport.connect import Connect
from tests.integration.transport.inbox import Inbox


async def test_wildcards_and_stop(connect: Connect, name: str) -> None:
    one, other = await connect(), await connect()
    exact: Inbox[Message] = Inbox()
    star: Inbox[Message] = Inbox()
    rest: Inbox[Message] = Inbox()
    subscription = await one.subscribe(f"{name}.a", exact)
    await one.subscribe(f"{name}.*", star)
    await one.subscribe(f"{name}.>", rest)
    other.send(f"{name}.a", b"1", headers={"K": "v"})
    other.send(f"{name}.b.c", b"2")
    message = await exact.next()
    assert (message.subject, message.data, dict(message.headers)) == (f"{name}.a", b"1", {"K": "v"})
    assert (await star.next()).data == b"1"
    assert [(await rest.next()).data for _ in range(2)] == [b"1", b"2"]
    await subscription.stop()
    other.send(f"{name}.a", b"3")
    assert (await star.next()).data == b"3"
    assert exact.empty
    assert star.empty


async def test_requests(connect: Connect, name: str) -> None:
    one, other = await connect(), await connect()
    await one.subscribe(f"{name}.echo", lambda message: message.respond(message.data, {"H": message.headers["H"]}))
    answers = await asyncio.gather(*(other.request(f"{name}.echo", b"%d" % n, headers={"H": str(n)}) for n in range(50)))
    assert [(answer.data, answer.headers["H"]) for answer in answers] == [(b"%d" % n, str(n)) for n in range(50)]
    answers[0].respond(b"there is nobody to answer")


async def test_nobody_listens(transport: Transport, name: str) -> None:
    with pytest.raises(NoResponders) as caught:
        await transport.request(f"{name}.nobody", b"", timeout=30)
    assert caught.value.subject == f"{name}.nobody"


async def test_nobody_answers(transport: Transport, name: str) -> None:
    await transport.subscribe(f"{name}.mute", lambda message: None)
    with pytest.raises(RequestTimeout) as caught:
        await transport.request(f"{name}.mute", b"", timeout=0.2)
    assert caught.value.timeout == 0.2


async def test_still_working_renews_the_patience(connect: Connect, name: str) -> None:
    one, other = await connect(), await connect()
    loop = asyncio.get_running_loop()

    def work(message: Message) -> None:
        for step in range(1, 6):
            loop.call_later(0.15 * step, message.respond, b"working")
        loop.call_later(0.9, message.respond, b"done")

    await one.subscribe(f"{name}.slow", work)
    answer = await other.request(f"{name}.slow", b"", timeout=0.5, pending=lambda message: message.data == b"working")
    assert answer.data == b"done"


async def test_a_stream_answers_requests_and_hears_core_messages(transport: Transport, name: str) -> None:
    await transport.ensure_stream(StreamSpec(name=name, subjects=(f"{name}.>",)))
    seen: Inbox[Message] = Inbox()
    await transport.subscribe(f"{name}.a", seen)
    assert b'"seq":1' in (await transport.request(f"{name}.a", b"x")).data
    transport.send(f"{name}.a", b"y")
    await transport.publish(f"{name}.a", b"z")
    assert [(await seen.next()).data for _ in range(3)] == [b"x", b"y", b"z"]
    assert await transport.purge(name, ">") == 3


async def test_a_handler_that_raises_does_not_end_the_connection(transport: Transport, name: str) -> None:
    def fail(_: Message) -> None:
        raise ValueError("a bug")

    await transport.subscribe(f"{name}.bad", fail)
    await transport.subscribe(f"{name}.good", lambda message: message.respond(b"fine"))
    transport.send(f"{name}.bad", b"")
    assert (await transport.request(f"{name}.good", b"")).data == b"fine"


async def test_large_and_empty_messages_arrive_whole(connect: Connect, name: str) -> None:
    one, other = await connect(), await connect()
    await one.subscribe(f"{name}.echo", lambda message: message.respond(message.data, {"K": "v"}))
    sizes = [0, 1, 100, 65_536, 1_000_000, 0, 3, 500_000]
    answers = await asyncio.gather(*(other.request(f"{name}.echo", bytes([n]) * size) for n, size in enumerate(sizes)))
    assert [answer.data for answer in answers] == [bytes([n]) * size for n, size in enumerate(sizes)]

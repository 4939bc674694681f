"""Frames are cut alike however the bytes happen to arrive."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from aiki.transport.wire import Wire

Frame = tuple[bytes, bytes, bytes, bytes]

tokens = st.from_regex(rb"[a-zA-Z0-9$._-]{1,20}", fullmatch=True)
blocks = st.sampled_from([b"", b"NATS/1.0\r\n\r\n", b"NATS/1.0 503\r\n\r\n", b"NATS/1.0\r\nA: MSG x 1 5\r\n\r\n"])
payloads = st.one_of(st.binary(max_size=300), st.sampled_from([b"\r\n", b"MSG a 1 3\r\nabc\r\n", b"PING\r\n"]))
messages = st.tuples(tokens, st.one_of(st.just(b""), tokens), blocks, payloads)
controls = st.sampled_from([b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'x'\r\n", b'INFO {"a":1}\r\n'])


def encode(frame: Frame) -> bytes:
    subject, reply, block, payload = frame
    reply = reply + b" " if reply else b""
    if block:
        return b"HMSG %b 1 %b%d %d\r\n%b%b\r\n" % (subject, reply, len(block), len(block) + len(payload), block, payload)
    return b"MSG %b 1 %b%d\r\n%b\r\n" % (subject, reply, len(payload), payload)


@given(st.lists(st.one_of(messages, controls), max_size=12), st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_any_cut_of_the_bytes_gives_the_same_frames(frames: list[Frame | bytes], sizes: list[int]) -> None:
    got: list[Frame] = []
    wire = Wire({b"1": lambda *frame: got.append(frame)}, failed)
    data = b"".join(frame if isinstance(frame, bytes) else encode(frame) for frame in frames)
    position = turn = 0
    while position < len(data):
        size = sizes[turn % len(sizes)]
        wire.data_received(data[position : position + size])
        position, turn = position + size, turn + 1
    assert got == [frame for frame in frames if not isinstance(frame, bytes)]
    wire.connection_lost(None)
    assert asyncio.run(wire.read(0)) == b"".join(frame for frame in frames if isinstance(frame, bytes))
    assert wire.at_eof()


def failed(error: Exception) -> None:
    raise error


def test_messages_of_unknown_subscriptions_are_dropped() -> None:
    got: list[Frame] = []
    wire = Wire({b"2": lambda *frame: got.append(frame)}, failed)
    wire.data_received(b"MSG a 1 1\r\nx\r\nMSG a 2 1\r\ny\r\n")
    assert got == [(b"a", b"", b"", b"y")]


def test_a_receiver_that_raises_does_not_hide_the_next_frame() -> None:
    errors: list[Exception] = []
    got: list[Frame] = []

    def fail(*_: bytes) -> None:
        raise ValueError("a bug")

    wire = Wire({b"1": fail, b"2": lambda *frame: got.append(frame)}, errors.append)
    wire.data_received(b"MSG a 1 1\r\nx\r\nMSG a 2 1\r\ny\r\n")
    assert len(errors) == 1
    assert len(got) == 1


async def test_lines_are_handed_out_one_by_one() -> None:
    wire = Wire({}, failed)
    reading = asyncio.create_task(wire.readline())
    await asyncio.sleep(0)
    wire.data_received(b"INF")
    wire.data_received(b"O {}\r\nPONG\r\nPI")
    assert await reading == b"INFO {}\r\n"
    assert await wire.readline() == b"PONG\r\n"
    wire.connection_lost(None)
    assert await wire.readline() == b""

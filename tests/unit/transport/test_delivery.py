"""Deliveries: what their reply subject says, and what settling them sends."""

from collections.abc import Callable

import pytest

from aiki.transport.delivery import JetStreamDelivery, ack_facts

SHORT = b"$JS.ACK.WORK.c.3.42.7.1700000000500000000.9"


@pytest.mark.parametrize(
    "reply",
    [
        SHORT,
        b"$JS.ACK.hub.ACCHASH.WORK.c.3.42.7.1700000000500000000.9",
        b"$JS.ACK.hub.ACCHASH.WORK.c.3.42.7.1700000000500000000.9.random",
    ],
)
def test_all_forms_of_the_reply_subject(reply: bytes) -> None:
    assert ack_facts(reply) == (3, 42, 1_700_000_000.5)


@pytest.mark.parametrize(
    ("settle", "verdict"),
    [
        (lambda delivery: delivery.ack(), b"+ACK"),
        (lambda delivery: delivery.nak(), b"-NAK"),
        (lambda delivery: delivery.nak(1.5), b'-NAK {"delay": 1500000000}'),
        (lambda delivery: delivery.term(), b"+TERM"),
        (lambda delivery: delivery.term("poison"), b"+TERM poison"),
    ],
)
def test_settled_once_and_for_all(settle: Callable[[JetStreamDelivery], None], verdict: bytes) -> None:
    sent: list[bytes] = []
    freed: list[None] = []
    delivery = JetStreamDelivery(b"a.b", SHORT, b"", b"data", sent.append, lambda: freed.append(None))
    delivery.in_progress()
    assert sent.pop() == b"PUB %b 4\r\n+WPI\r\n" % SHORT
    assert not delivery.settled
    settle(delivery)
    settle(delivery)
    delivery.ack()
    delivery.in_progress()
    assert sent == [b"PUB %b %d\r\n%b\r\n" % (SHORT, len(verdict), verdict)]
    assert (delivery.settled, len(freed)) == (True, 1)
    assert (delivery.subject, delivery.data, delivery.sequence, delivery.attempt) == ("a.b", b"data", 42, 3)

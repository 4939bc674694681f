"""The parts of nats-py that `Connection` builds on, which a new release may change."""

import importlib.metadata
import inspect

from nats.aio.client import Client
from nats.aio.transport import Transport

from aiki.transport.connection import PRIVATE_NAMES
from aiki.transport.wire import Wire


def test_nats_py_is_the_pinned_one() -> None:
    assert importlib.metadata.version("nats-py").startswith("2.16."), "read Connection and Wire against the new release, then pin it"


def test_every_private_name_exists() -> None:
    client = Client()
    assert [name for name in PRIVATE_NAMES if not hasattr(client, name)] == []


def test_what_is_overridden_is_still_awaited_with_the_same_parameters() -> None:
    expected = {
        "_attempt_reconnect": [],
        "_close": ["status", "do_cbs"],
        "_connect_to_server": ["s"],
        "_process_err": ["err_msg"],
        "_process_msg": ["sid", "subject", "reply", "data", "headers"],
        "_process_op_err": ["e"],
        "_process_pong": [],
        "_send_ping": ["future"],
    }
    for name, parameters in expected.items():
        method = getattr(Client, name)
        assert inspect.iscoroutinefunction(method), name
        assert list(inspect.signature(method).parameters)[1:] == parameters, name


def test_the_wire_is_a_whole_transport() -> None:
    assert not inspect.isabstract(Wire)
    for name in Transport.__abstractmethods__:
        theirs = list(inspect.signature(getattr(Transport, name)).parameters)
        assert list(inspect.signature(getattr(Wire, name)).parameters) == theirs, name


def test_what_nats_py_reads_of_a_subscription() -> None:
    source = inspect.getsource(Client._attempt_reconnect) + inspect.getsource(Client._close)
    for name in ("_subject", "_queue", "_max_msgs", "_received", "_wait_for_msgs_task", "_message_iterator", "_pending_next_msgs_calls"):
        assert f"sub.{name}" in source, name

"""Header blocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiki.transport.headers import format_headers, parse_headers, parse_status
from aiki.transport.message import publication
from aiki.types.errors import TransportError

names = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,15}", fullmatch=True)
values = st.text(st.characters(blacklist_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=30).map(str.strip)


@given(st.dictionaries(names, values, max_size=5))
def test_headers_survive(headers: dict[str, str]) -> None:
    assert parse_headers(f"NATS/1.0\r\n{format_headers(headers)}\r\n".encode()) == headers


@given(names, values, values)
def test_a_line_break_is_refused(name: str, left: str, right: str) -> None:
    for hostile in ("\r", "\n", "\r\n", "\n\r"):
        with pytest.raises(TransportError):
            format_headers({name: left + hostile + right})
        with pytest.raises(TransportError):
            format_headers({"A": "1", name + hostile + "B": right})


def test_status() -> None:
    assert parse_status(b"NATS/1.0 503\r\n\r\n") == 503
    assert parse_status(b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 1\r\n\r\n") == 408
    assert parse_status(b"NATS/1.0\r\nA: 1\r\n\r\n") == 0
    assert parse_status(b"") == 0


def test_publications() -> None:
    assert publication("a.b", "", "", 3) == (b"PUB a.b  3\r\n", 3)
    assert publication("a.b", "r", "", 3) == (b"PUB a.b r 3\r\n", 3)
    block = "NATS/1.0\r\nK: grün\r\n\r\n".encode()
    expected = b"HPUB a.b r %d %d\r\n" % (len(block), len(block) + 3) + block
    assert publication("a.b", "r", "K: grün\r\n", 3) == (expected, len(block) + 3)

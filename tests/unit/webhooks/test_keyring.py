"""Tokens of webhooks: what was signed is found again, and nothing else passes."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiki.types.errors import DefinitionError, WebhookInvalid
from aiki.webhooks import Keyring, Ticket

TICKET = Ticket("default", "01h" + "0" * 23, "order", "1.0.0", "approval", 2, 1e9)
TICKETS = st.builds(Ticket, *[st.text(max_size=30)] * 5, st.integers(1, 10**6), st.floats(0, 1e11))


@given(TICKETS)
def test_what_was_signed_is_found_again(ticket: Ticket) -> None:
    keyring = Keyring.random()
    token = keyring.sign(ticket)
    assert keyring.verify(token) == ticket
    assert all(character.isascii() and (character.isalnum() or character in "-_.") for character in token)


@given(st.data())
def test_any_change_of_a_token_is_noticed(data: st.DataObject) -> None:
    keyring = Keyring("k", {"k": b"0" * 32})
    token = keyring.sign(TICKET)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters().filter(lambda character: character != token[place]))
    with pytest.raises(WebhookInvalid):
        keyring.verify(token[:place] + other + token[place + 1 :])


@given(st.text(max_size=200) | st.from_regex(r"1\.k\.[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*", fullmatch=True))
def test_anything_else_is_invalid(token: str) -> None:
    with pytest.raises(WebhookInvalid):
        Keyring("k", {"k": b"0" * 32}).verify(token)


def test_a_huge_token_is_invalid() -> None:
    with pytest.raises(WebhookInvalid):
        Keyring("k", {"k": b"0" * 32}).verify("1.k." + "a" * 10_000_000 + ".b")


def test_another_key_of_the_same_id_does_not_verify() -> None:
    with pytest.raises(WebhookInvalid):
        Keyring("k", {"k": b"1" * 32}).verify(Keyring("k", {"k": b"0" * 32}).sign(TICKET))


def test_keys_are_rotated() -> None:
    first = Keyring.random()
    second = first.rotated(forget=False)
    assert second.active != first.active
    assert second.verify(first.sign(TICKET)) == second.verify(second.sign(TICKET)) == TICKET
    assert not first.knows(second.sign(TICKET))
    third = second.rotated(forget=True)
    for old in (first, second):
        with pytest.raises(WebhookInvalid):
            third.verify(old.sign(TICKET))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(second), type=Keyring) == second


def test_secrets_of_the_environment() -> None:
    old, both = Keyring.from_secrets("an-old-secret-of-mine"), Keyring.from_secrets("a-new-secret-of-mine\n an-old-secret-of-mine")
    assert both.verify(old.sign(TICKET)) == TICKET
    assert not old.knows(both.sign(TICKET))
    for text in ("short", "", "  "):
        with pytest.raises(DefinitionError):
            Keyring.from_secrets(text)

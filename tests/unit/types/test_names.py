"""Names, tokens, and where things are."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiki.types.errors import InvalidName
from aiki.types.identifiers import keyed_run_id, new_run_id
from aiki.types.names import MAX_NAME_BYTES, check_name, from_token, to_token
from aiki.types.subjects import Subjects


@pytest.mark.parametrize("name", ["a", "order", "1.0.0", "a b", "a*", ">", "día", "注文", "a=2E", "x" * MAX_NAME_BYTES, "_-", "🦊"])
def test_good_names(name: str) -> None:
    assert check_name(name, "task") == name
    assert from_token(to_token(name)) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        (" a", "white space"),
        ("a ", "white space"),
        ("a\n", "white space"),
        ("a\nb", "unprintable"),
        ("a\x00b", "unprintable"),
        ("a\u200bb", "unprintable"),
        ("a\ud800", "unprintable"),
        ("e\u0301", "normal form C"),
        ("x" * 300, "300 bytes"),
        ("é" * 61, "122 bytes"),
        (None, "not NoneType"),
        (5, "not int"),
        (b"a", "not bytes"),
    ],
)
def test_bad_names(name: Any, reason: str) -> None:
    with pytest.raises(InvalidName, match="cannot be the name of a task") as caught:
        check_name(name, "task")
    assert reason in caught.value.reason
    assert caught.value.name == name
    assert len(str(caught.value)) < 250
    str(caught.value).encode()


@given(st.text())
def test_a_token_is_one_token_and_can_be_read_back(name: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in name):
        return
    token = to_token(name)
    assert from_token(token) == name
    assert not set(token) & set(".*> \t\r\n$/\\")
    assert token.isascii()


@given(st.text(), st.text())
def test_tokens_of_different_names_differ(first: str, second: str) -> None:
    assert (to_token(first) == to_token(second)) == (first == second)


def test_run_ids_sort_by_time_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    instant = iter(range(1_700_000_000_000_000_000, 1_800_000_000_000_000_000, 999_000_000_123))
    monkeypatch.setattr("time.time_ns", lambda: next(instant))
    ids = [new_run_id() for _ in range(1000)]
    assert ids == sorted(ids)
    assert {len(id) for id in ids} == {26}
    assert all(to_token(id) == id for id in ids)


def test_run_ids_of_one_millisecond_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1)
    assert len({new_run_id() for _ in range(1000)}) == 1000


def test_keyed_run_ids() -> None:
    assert keyed_run_id("w", "k") == keyed_run_id("w", "k")
    ids = [keyed_run_id(workflow, key) for workflow, key in [("w", "k"), ("w", "l"), ("v", "k"), ("wk", ""), ("w", "\U0001f98a" * 100)]]
    assert len(set(ids)) == 5
    assert all(len(id) == 26 and to_token(id) == id for id in ids)


AWKWARD = ["a", "b", "a-b", "b-a", "a.b", "a b", "a=2Db", "~", "a~", "~b", "注" * 40, "注" * 39 + "-", "x" * 120]


def test_consumers_of_different_things_have_different_names() -> None:
    subjects = Subjects("eu")
    pairs = list(itertools.product(AWKWARD, AWKWARD))
    for make in (subjects.run_consumer, subjects.task_consumer):
        names = [make(first, second) for first, second in pairs]
        assert len(set(names)) == len(pairs)
        assert all(len(name) <= 255 and not set(name) & set(".*> /\\") for name in names)


def test_subjects_of_different_things_differ() -> None:
    subjects = Subjects("eu")
    pairs = list(itertools.product(AWKWARD, AWKWARD))
    assert len({subjects.task_mail(*pair) for pair in pairs}) == len({subjects.run_mail(*pair) for pair in pairs}) == len(pairs)
    with pytest.raises(InvalidName):
        Subjects("")

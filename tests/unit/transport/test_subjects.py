"""Subject patterns of the in-memory twin."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiki.transport.memory.subjects import SubjectTree, matches, overlap, transform

subjects = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join)
patterns = st.tuples(st.lists(st.sampled_from(["a", "b", "*"]), max_size=3), st.sampled_from(["a", "*", ">"])).map(
    lambda parts: ".".join([*parts[0], parts[1]])
)


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("a.b", "a.b", True),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.*", "a", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        (">", "a", True),
        ("*.b", "a.b", True),
        ("*.b", "a.c", False),
        ("a", "a.b", False),
    ],
)
def test_matches(pattern: str, subject: str, expected: bool) -> None:
    assert matches(pattern, subject) is expected


@given(st.lists(patterns, max_size=8), subjects)
def test_the_tree_finds_what_matches(patterns: list[str], subject: str) -> None:
    tree: SubjectTree[int] = SubjectTree()
    for number, pattern in enumerate(patterns):
        tree.insert(pattern, number)
    assert sorted(tree.find(subject)) == [number for number, pattern in enumerate(patterns) if matches(pattern, subject)]
    for number, pattern in enumerate(patterns):
        tree.remove(pattern, number)
        tree.remove(pattern, number)
    assert tree.find(subject) == []
    assert tree._root.children == {}


@given(patterns, patterns, subjects)
def test_patterns_that_share_a_subject_overlap(one: str, other: str, subject: str) -> None:
    assert overlap(one, other) == overlap(other, one)
    if matches(one, subject) and matches(other, subject):
        assert overlap(one, other)


def test_overlap() -> None:
    assert overlap("a.>", "a.b.*")
    assert overlap("a.*.c", "a.b.*")
    assert not overlap("a.*", "a.b.c")
    assert not overlap("a.b", "a.c")


def test_transform() -> None:
    assert transform("$KV.b.>", "live.>", "$KV.b.x.y") == "live.x.y"
    assert transform("a.*.b.*", "x.{{wildcard(2)}}.$1", "a.1.b.2") == "x.2.1"
    assert transform(">", "all.>", "a.b") == "all.a.b"
    assert transform("a", "$SYS", "a") == "$SYS"

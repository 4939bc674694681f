"""Quantiles within 2%, merged or not."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from aiki.types.sketch import LEAST, Sketch

DURATIONS = st.lists(st.floats(LEAST, 1e6), min_size=1, max_size=200)


def sketch(values: list[float]) -> Sketch:
    made = Sketch(count=len(values), total=sum(values), longest=max(values), bins={})
    for value in values:
        made.add(value)
    return made


def close(found: float, exact: float) -> bool:
    return abs(found - exact) <= 0.0201 * exact


@given(DURATIONS, st.sampled_from((0.0, 0.5, 0.95, 0.99, 1.0)))
def test_a_quantile_is_right_to_within_two_percent(values: list[float], share: float) -> None:
    exact = sorted(values)[int(share * (len(values) - 1))]
    assert close(sketch(values).quantile(share), exact)


@given(DURATIONS, DURATIONS, st.sampled_from((0.5, 0.99)))
def test_merged_is_as_if_seen_by_one(mine: list[float], theirs: list[float], share: float) -> None:
    merged = sketch(mine)
    merged.merge(msgspec.msgpack.decode(msgspec.msgpack.encode(sketch(theirs)), type=Sketch))
    whole = sketch(mine + theirs)
    assert (merged.count, merged.longest, merged.bins) == (whole.count, whole.longest, whole.bins)
    assert merged.quantile(share) == whole.quantile(share)


def test_a_sample_weighs_what_it_stands_for() -> None:
    few = Sketch(count=10_000, total=10_000.0, longest=1.0, bins={})
    for _ in range(100):
        few.add(1.0)
    many = sketch([10.0] * 1000)
    many.merge(few)
    assert many.count == 11_000
    assert close(many.quantile(0.9), 1.0)
    assert close(many.quantile(0.95), 10.0)
    few.merge(sketch([10.0] * 1000))
    assert close(few.quantile(0.9), 1.0)
    assert close(few.quantile(0.95), 10.0)


def test_nothing_has_no_quantiles() -> None:
    empty = Sketch()
    assert (empty.quantile(0.5), empty.mean) == (0.0, 0.0)
    empty.merge(Sketch())
    assert empty.count == 0

"""Expressions: against Python itself, to JSON and back."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiki.graph import shape
from aiki.graph.evaluation import Absent, Scope, Unfit, evaluate
from aiki.graph.expression import Expression, inputs, item, ref, shown, term_of
from aiki.graph.fit import misfit
from aiki.graph.term import Term, nodes_of

scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([0.5, 1.0, 2.5]) | st.text("ab", max_size=2)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3))
numbers = st.integers(-9, 9) | st.sampled_from([0.5, 2.5])


def value(expression: Any, input: Any = None, outputs: dict[str, Any] | None = None, **scope: Any) -> Any:
    return evaluate(term_of(expression), Scope(input, outputs or {}, **scope))


@given(values)
def test_plain_values_are_themselves(plain: Any) -> None:
    assert value(plain) == plain
    assert value({"a": [inputs, plain]}, plain) == {"a": [plain, plain]}


@given(numbers, numbers)
def test_comparisons_are_pythons(one: float, other: float) -> None:
    data = {"a": one, "b": other}
    a, b = inputs.a, inputs["b"]
    assert [value(each, data) for each in (a < b, a <= b, a > b, a >= b, a == b, a != b)] == [
        one < other,
        one <= other,
        one > other,
        one >= other,
        one == other,
        one != other,
    ]
    assert value((a < b) | (a == b) & ~(b > 3), data) == ((one < other) or (one == other and not other > 3))
    assert value(a.is_in([b, 1, 2]), data) == (one in [other, 1, 2])


@given(values, values)
def test_equality_is_that_of_json(one: Any, other: Any) -> None:
    same = value(inputs[0] == inputs[1], [one, other])
    assert same is (msgspec.json.encode(_plain(one)) == msgspec.json.encode(_plain(other)))


def _plain(of: Any) -> Any:
    """Numbers spelt alike, keys in order."""
    if isinstance(of, dict):
        return {key: _plain(of[key]) for key in sorted(of)}
    if isinstance(of, list):
        return list(map(_plain, of))
    return float(of) if type(of) is int else of


KEYS: st.SearchStrategy[str | int] = st.sampled_from(["x", "y", "a b", 0, -1])

terms = st.recursive(
    values.map(term_of) | st.sampled_from([inputs, item, ref("n"), ref("a b")]).map(term_of),
    lambda inner: st.one_of(
        st.tuples(inner, KEYS).map(lambda pair: term_of(Expression(pair[0])[pair[1]])),
        st.lists(inner, max_size=3).map(lambda parts: term_of(list(map(Expression, parts)))),
        st.dictionaries(st.sampled_from("xyz"), inner, max_size=3).map(lambda parts: term_of({k: Expression(v) for k, v in parts.items()})),
        st.tuples(inner, inner).map(lambda pair: term_of(Expression(pair[0]).otherwise(Expression(pair[1])))),
        st.tuples(inner, inner).map(lambda pair: term_of(Expression(pair[0]) == Expression(pair[1]))),
        st.tuples(inner, inner).map(lambda pair: term_of(Expression(pair[0]).is_in(Expression(pair[1])))),
        st.tuples(inner, inner).map(lambda pair: term_of(Expression(pair[0]) < Expression(pair[1]))),
        inner.map(lambda part: term_of(~Expression(part))),
    ),
    max_leaves=8,
)


@given(terms)
def test_terms_go_to_json_and_back(term: Term) -> None:
    assert msgspec.json.decode(msgspec.json.encode(term), type=Term) == term
    assert shown(term)
    assert set(nodes_of(term)) <= {"n", "a b"}


@given(terms, values, values)
def test_evaluation_ends_in_a_value_or_says_why_not(term: Term, input: Any, output: Any) -> None:
    for scope in (Scope(input, {"n": output}, item=1), Scope(input, {}, lenient=("n", "a b"))):
        try:
            found = evaluate(term, scope)
        except (Absent, Unfit) as error:
            assert str(error)
        else:
            assert msgspec.json.decode(msgspec.json.encode(found)) == found


@given(values, values)
def test_a_value_fits_itself_and_a_type_that_it_can_be_read_as(one: Any, other: Any) -> None:
    mine = shape.of_value(one)
    assert misfit(mine, mine) is None
    for annotation in (int, str, bool, list[int], dict[str, int], int | None, list[str | None], tuple[int, str], dict[str, list[Any]]):
        schema = msgspec.json.schema(annotation)
        try:
            msgspec.convert(one, annotation)
        except msgspec.ValidationError:
            continue
        # 1.0 is read as an int at run time; where it is written down it is refused.
        assert "." in repr(one) or misfit(mine, shape.Shape(schema, schema)) is None, (one, annotation)


def test_what_is_not_there() -> None:
    with pytest.raises(Absent, match=r"no inputs\.a"):
        value(inputs.a, {})
    with pytest.raises(Absent) as absent:
        value(ref("n").a[0])
    assert absent.value.node == "n"
    assert value(ref("n").a[0].otherwise(3)) == 3
    assert value(ref("n").otherwise(ref("m").otherwise([])), outputs={"m": None}) == []
    assert value({"n": ref("n").a}, lenient=("n",)) == {"n": None}
    assert value(inputs.a.b.otherwise("x"), {"a": None}) == "x"
    with pytest.raises(Unfit, match="only numbers"):
        value(inputs < 3, "x")
    with pytest.raises(Unfit, match="neither true nor false"):
        value(inputs & True, 1)
    assert value(inputs.fast | (ref("n") > 3), {"fast": True}) is True


def test_how_they_are_shown() -> None:
    shown_as = {
        "(inputs.a > 3) and (not n[0])": (inputs.a > 3) & ~ref("n")[0],
        "{id: inputs['a b'], of: [1, \"x\"]}": Expression(term_of({"id": inputs["a b"], "of": [1, "x"]})),
        "item.x otherwise null": item.x.otherwise(None),
        "n in [1, 2]": ref("n").is_in([1, 2]),
    }
    for text, expression in shown_as.items():
        assert repr(expression) == f"<expression {text}>"

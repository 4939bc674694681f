"""Payload types: what goes in comes out, and what does not fit is refused with its path and the reason."""

import dataclasses
import enum
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from aiki.schema import MAX_PAYLOAD, content_hash, payload_hash, read_signature, result_schema, schema_for
from aiki.types.errors import DefinitionError, PayloadError, PayloadTooLarge

Item = TypeVar("Item")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Line(msgspec.Struct):
    sku: str
    count: int = 1


class Order(msgspec.Struct):
    id: UUID
    lines: list[Line]
    color: Color | None = None
    at: datetime | None = None


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5


class Options(TypedDict, total=False):
    deep: dict[str, list[int]]


class Pair(NamedTuple):
    left: int
    right: str


class Box(msgspec.Struct, Generic[Item]):
    item: Item


class Tree(msgspec.Struct):
    value: int
    children: "list[Tree]" = []


class Model(BaseModel):
    name: str
    weight: float | None = None
    tags: list[str] = []


class Outer(BaseModel):
    inner: Model
    many: list[Model] = []


ID = UUID("12345678-1234-5678-1234-567812345678")
NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)

GOOD: list[tuple[Any, Any]] = [
    (Order, Order(ID, [Line("a", 2), Line("b")], Color.BLUE, NOON)),
    (Point, Point(1, 2.5)),
    (Options, {"deep": {"a": [1, 2]}}),
    (Pair, Pair(1, "x")),
    (Color, Color.RED),
    (NOON.__class__, NOON),
    (date, date(2026, 1, 2)),
    (timedelta, timedelta(seconds=90.5)),
    (UUID, ID),
    (Decimal, Decimal("1.10")),
    (bytes, b"\x00\xff"),
    (str | None, None),
    (int | str, "x"),
    (Literal["a", "b"], "a"),
    (Box[int], Box(3)),
    (Box[list[Line]], Box([Line("a")])),
    (Tree, Tree(1, [Tree(2, [Tree(3)])])),
    (set[str], {"a", "b"}),
    (frozenset[int], frozenset({1, 2})),
    (tuple[int, str], (1, "x")),
    (dict[str, Any], {"a": [1, 2.5, None, True, {"b": "é\u2028"}]}),
    (dict[int, str], {1: "a"}),
    (Annotated[int, msgspec.Meta(ge=0)], 3),
    (None, None),
    (Any, [1, "a", {"b": None}]),
    (Model, Model(name="x", weight=1.5)),
    (list[Model], [Model(name="x"), Model(name="y")]),
    (dict[str, Model | None], {"a": None, "b": Model(name="z")}),
    (Outer, Outer(inner=Model(name="x"), many=[Model(name="y")])),
    (Any, float(2**60)),
]


@pytest.mark.parametrize(("annotation", "value"), GOOD, ids=[str(annotation) for annotation, _ in GOOD])
def test_what_goes_in_comes_out(annotation: Any, value: Any) -> None:
    schema = schema_for(annotation, "input")
    data = schema.encode(value, "input")
    assert schema.decode(data, "input") == value
    assert schema.json_schema() is not None


BAD: list[tuple[Any, Any, str, str]] = [
    (Order, Order(ID, [Line("a", "many")]), "$.lines[0].count", "Expected `int`, got `str`"),  # type: ignore[arg-type]
    (Order, {"id": str(ID), "lines": []}, "$", "expected Order, got dict"),
    (Point, Line("a"), "$", "expected Point, got Line"),
    (Point, Point(1, "y"), "$.y", "Expected `float`, got `str`"),  # type: ignore[arg-type]
    (Options, {"deep": {"a": [1, "b"]}}, "$.deep[...][1]", "Expected `int`, got `str`"),
    (Color, "green", "$", "Invalid enum value 'green'"),
    (int, True, "$", "Expected `int`, got `bool`"),
    (int, "1", "$", "Expected `int`, got `str`"),
    (str, None, "$", "Expected `str`, got `null`"),
    (Literal["a"], "b", "$", "Invalid enum value"),
    (None, 1, "$", "Expected `null`"),
    (float, float("nan"), "$", "JSON has no nan"),
    (list[float | None], [1.0, float("inf")], "$[1]", "JSON has no inf"),
    (Any, {"a": [float("-inf")]}, "$['a'][0]", "JSON has no -inf"),
    (Point, Point(1, float("nan")), "$.y", "JSON has no nan"),
    (Model, Model(name="x", weight=float("nan")), "$['weight']", "JSON has no nan"),
    (Model, {"name": 5}, "$.name", "valid string"),
    (list[Model], [Model(name="x"), {"name": "y", "tags": [1]}], "$[1].tags[0]", "valid string"),
    (Outer, {"inner": {}}, "$.inner.name", "required"),
    (Any, object(), "$", "cannot be encoded"),
    (Any, 2**70 * 1j, "$", "cannot be encoded"),
    (str, "\ud800", "$", "cannot be encoded"),
    (Any, lambda: 1, "$", "cannot be encoded"),
]


@pytest.mark.parametrize(("annotation", "value", "path", "reason"), BAD, ids=[f"{row[0]}-{number}" for number, row in enumerate(BAD)])
def test_what_does_not_fit_is_refused_with_path_and_reason(annotation: Any, value: Any, path: str, reason: str) -> None:
    with pytest.raises(PayloadError) as caught:
        schema_for(annotation, "input").encode(value, "input of task 'x'")
    error = caught.value
    assert error.path == path
    assert reason in error.reason
    assert str(error).startswith("input of task 'x'")
    assert path == "$" or path in str(error)


@pytest.mark.parametrize("annotation", [Point, Model, list[Model], Any, int])
@pytest.mark.parametrize("data", [b"", b"{", b"nul", b'"\xff"', b"[" * 100_000, b"{}}"])
def test_what_is_no_json_is_refused(annotation: Any, data: bytes) -> None:
    with pytest.raises(PayloadError):
        schema_for(annotation, "input").decode(data, "input")


@pytest.mark.parametrize("annotation", [Any, str, Model])
def test_ten_megabytes_are_refused(annotation: Any) -> None:
    big = "x" * 10_000_000
    with pytest.raises(PayloadTooLarge) as caught:
        schema_for(annotation, "input").encode(Model(name=big) if annotation is Model else big, "input")
    assert caught.value.limit == MAX_PAYLOAD and caught.value.size > 10_000_000


def test_the_limit_is_exact() -> None:
    schema = schema_for(str, "input")
    schema.encode("x" * (MAX_PAYLOAD - 2), "input")
    with pytest.raises(PayloadTooLarge):
        schema.encode("x" * (MAX_PAYLOAD - 1), "input")


@pytest.mark.parametrize("annotation", [Any, list[Any], Model])
def test_a_value_that_holds_itself_is_refused(annotation: Any) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(PayloadError):
        schema_for(annotation, "input").encode(Model.model_construct(name="x", tags=endless) if annotation is Model else endless, "input")


class Unspeakable:
    pass


T = TypeVar("T")


@pytest.mark.parametrize(
    "annotation",
    [
        Unspeakable,
        Callable[[], int],
        complex,
        type,
        object,
        "Missing",
        list["Missing"],  # type: ignore[name-defined]  # noqa: F821
        5,
        Model | Unspeakable,
        dict[str, list[Unspeakable]],
    ],
    ids=str,
)
def test_types_that_cannot_be_sent_are_refused_when_they_are_declared(annotation: Any) -> None:
    with pytest.raises(DefinitionError, match="input of task"):
        schema_for(annotation, "input of task 'x'")


# -- canonical form

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(), parts, max_size=4),
    max_leaves=12,
)


def turned(value: Any) -> Any:
    """The same value, with its dictionaries built in another order."""
    if isinstance(value, dict):
        return {key: turned(member) for key, member in reversed(value.items())}
    return [turned(member) for member in value] if isinstance(value, list) else value


@given(JSON)
def test_equal_values_have_one_hash_whatever_the_order_of_their_keys(value: Any) -> None:
    first, second = msgspec.json.encode(value), msgspec.json.encode(turned(value))
    assert content_hash(first) == content_hash(second)
    assert payload_hash(first) == payload_hash(second)
    assert (len(content_hash(first)), len(payload_hash(first))) == (16, 32)


@given(JSON, JSON)
def test_different_values_have_different_hashes(first: Any, second: Any) -> None:
    one, other = (msgspec.json.encode(value, order="sorted") for value in (first, second))
    assert (content_hash(one) == content_hash(other)) == (one == other)


def test_a_set_is_encoded_alike_in_every_process() -> None:
    program = (
        "from aiki.schema import schema_for; from typing import Any; import msgspec\n"
        "class S(msgspec.Struct):\n  names: set[str]\n  more: dict[str, Any]\n"
        "names = {f'name-{n}' for n in range(20)}\n"
        "print(schema_for(S, 'x').encode(S(names, {'b': names, 'a': 1}), 'x'), schema_for(Any, 'x').encode([names], 'x'))"
    )
    answers = {
        subprocess.run([sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in "123"
    }
    assert len(answers) == 1


def test_a_dictionary_keeps_its_order() -> None:
    assert schema_for(dict[str, int], "x").encode({"b": 1, "a": 2}, "x") == b'{"b":1,"a":2}'


# -- signatures


def test_a_signature() -> None:
    def function(order: Order, context: Any) -> list[Line]:
        return order.lines

    signature = read_signature(function, "task 'x'", skip=0, most=2)
    assert signature.positional == 2
    with pytest.raises(PayloadError, match="input"):
        signature.payload.encode({}, "input")
    assert signature.result.encode([Line("a")], "result") == b'[{"sku":"a","count":1}]'


def test_missing_annotations_are_any_json() -> None:
    signature = read_signature(lambda anything: anything, "task 'x'", skip=0, most=2)
    assert signature.payload.decode(b'{"a":1}', "x") == {"a": 1}
    with pytest.raises(PayloadError):
        signature.result.encode(object(), "x")


def test_the_result_of_a_step_s_function() -> None:
    def typed() -> Point:
        return Point(1)

    def unresolved() -> "Missing":  # type: ignore[name-defined]  # noqa: F821
        return None

    assert result_schema(typed, "step 'x'").decode(b'{"x":1}', "x") == Point(1)
    assert result_schema(unresolved, "step 'x'").decode(b"1", "x") == 1

"""A value that fits a type's JSON Schema fits the type, and the other way round (but for an optional tag, and dates without a zone)."""

import dataclasses
import datetime
import enum
import uuid
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiki.schema import schema_for
from aiki.schema.json_schema import check_fits
from aiki.types.errors import PayloadError


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Cat(msgspec.Struct, tag="cat"):
    lives: int


class Dog(msgspec.Struct, tag="dog", forbid_unknown_fields=True):
    name: str = "Rex"


class Tree(msgspec.Struct):
    value: float
    children: list["Tree"] = []


class Point(NamedTuple):
    x: int
    y: int = 0


class Options(TypedDict, total=False):
    colour: Colour
    size: Literal["s", "m"]


@dataclasses.dataclass
class Approval:
    by: str
    at: Annotated[datetime.datetime, msgspec.Meta(tz=True)] | None = None
    id: uuid.UUID | None = None


class Model(pydantic.BaseModel):
    number: Annotated[int, pydantic.Field(ge=1, lt=9)]
    pets: list["Model"] = []
    text: Annotated[str, pydantic.StringConstraints(min_length=1, max_length=3)] = "a"


EXACT = [
    int,
    str,
    bool,
    None,
    Colour,
    Cat | Dog,
    Tree,
    Options,
    Approval,
    list[int],
    dict[str, bool],
    Any,
    int | None,
    Literal[1, 2],
    Annotated[int, msgspec.Meta(ge=2, lt=5)],
    Annotated[str, msgspec.Meta(pattern="^a+$", max_length=4)],
    Annotated[list[int], msgspec.Meta(min_length=1, max_length=2)],
]
WORDS = st.sampled_from(["red", "blue", "cat", "dog", "s", "m", "aa", "", "2024-01-01T00:00:00Z", "a8098c1a-f86e-11da-bd1a-00112444be1e"])
FIELDS = st.sampled_from(["type", "lives", "name", "value", "children", "colour", "size", "by", "at", "id", "other"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats(allow_nan=False, allow_infinity=False, width=16) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=6,
)


def fits_schema(annotation: Any, value: Any) -> bool:
    try:
        check_fits(value, schema_for(annotation, "x").json_schema(), "x")
    except PayloadError:
        return False
    return True


def fits_type(annotation: Any, value: Any) -> bool:
    try:
        schema_for(annotation, "x").decode(msgspec.json.encode(value), "x")
    except PayloadError:
        return False
    return True


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(EXACT), VALUES)
def test_the_schema_says_what_the_type_says(annotation: Any, value: Any) -> None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    assert fits_schema(annotation, value) == fits_type(annotation, value)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(EXACT), st.data())
def test_what_a_type_writes_fits_its_schema(annotation: Any, data: st.DataObject) -> None:
    examples = [
        Cat(9),
        Dog(),
        Tree(1.5, [Tree(2), Tree(3, [Tree(4)])]),
        {"colour": Colour.RED},
        Approval("me", datetime.datetime.now(datetime.UTC), uuid.uuid4()),
    ]
    value = data.draw(st.sampled_from(examples))
    if fits_type(annotation, value):
        assert fits_schema(annotation, msgspec.json.decode(msgspec.json.encode(value)))


@pytest.mark.parametrize(
    ("annotation", "value", "path", "reason"),
    [
        (Approval, {}, "$", "missing required field `by`"),
        (Approval, {"by": 3}, "$.by", "expected string, got integer"),
        (Approval, {"by": "me", "at": "noon"}, "$.at", "expected a date-time"),
        (Tree, {"value": 1, "children": [{"value": 1, "children": [{}]}]}, "$.children[0].children[0]", "missing required field `value`"),
        (Dog, {"type": "dog", "age": 3}, "$.age", "nothing is allowed here"),
        (Cat | Dog, {"type": "cow"}, "$.type", "expected"),
        (Model, {"number": 0}, "$.number", "expected a number with minimum 1"),
        (Model, {"number": 1, "text": "long text"}, "$.text", "expected at most 3 characters"),
        (list[int], [1, True], "$[1]", "expected integer, got boolean"),
        (Point, [1, "2"], "$[1]", "expected integer"),
    ],
)
def test_what_is_wrong_and_where(annotation: Any, value: Any, path: str, reason: str) -> None:
    with pytest.raises(PayloadError) as caught:
        check_fits(value, schema_for(annotation, "x").json_schema(), "the answer")
    assert caught.value.path == path
    assert reason in caught.value.reason


def test_a_schema_that_goes_round_in_circles_ends() -> None:
    with pytest.raises(PayloadError, match="too deeply"):
        check_fits(1, {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "x")

"""What is refused when a graph is defined, and what is not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import pytest
from pydantic import BaseModel

from aiki.sdk import Context, DefinitionError, InvalidGraph, Retry, graph, inputs, item, node, ref, task, workflow


class Order(msgspec.Struct):
    id: str
    lines: list[int]
    urgent: bool = False
    note: str | None = None


class Payment(msgspec.Struct, rename="camel"):
    order_id: str
    amount: int


class Model(BaseModel):
    id: str
    weight: float


@dataclass
class Parcel:
    weight: float


class Tree(msgspec.Struct):
    value: int
    children: list["Tree"] = []


@task(name="load")
async def load(id: str) -> Order:
    return Order(id, [1])


@task(name="charge")
async def charge(payment: Payment) -> int:
    return payment.amount


@task(name="double")
async def double(number: int) -> int:
    return 2 * number


@task(name="weigh")
async def weigh(parcel: Parcel) -> float:
    return parcel.weight


@task(name="model")
async def model(number: int) -> Model:
    return Model(id="1", weight=number)


@task(name="colour")
async def colour(name: Literal["red", "green"]) -> Literal["red", "blue"]:
    return "red"


@task(name="anything")
async def anything(value: Any) -> Any:
    return value


@task(name="nothing")
async def nothing() -> None: ...


@task(name="counts")
async def counts() -> dict[str, int]:
    return {}


@task(name="tree")
async def tree(root: Tree) -> Tree:
    return root


@workflow(name="child")
async def child(ctx: Context, number: int) -> str:
    return str(number)


LOAD = node("load", load, input=inputs.id)

REFUSED: dict[str, tuple[list[Any], str | None, str]] = {
    "two nodes": ([LOAD, node("load", load, input="x")], "load", "two nodes of this name"),
    "no nodes": ([], None, "no nodes"),
    "no node": ([charge], None, "made by node"),
    "unknown reference": ([LOAD, node("a", double, input=ref("laod").lines[0])], "a", "no node 'laod'; do you mean 'load'?"),
    "unknown after": ([node("a", double, input=1, after="b")], "a", "no node 'b'"),
    "itself": ([node("a", double, input=ref("a"))], "a", "a → a"),
    "a circle": (
        [node("a", double, input=ref("c")), node("b", double, input=ref("a")), node("c", double, input=ref("b"))],
        "a",
        "a → b → c → a",
    ),
    "a circle that others wait for": (
        [node("z", double, input=ref("a")), node("a", double, input=1, after="b"), node("b", double, input=1, after="a")],
        "a",
        "a → b → a",
    ),
    "any of none": ([node("a", double, input=1, join="any")], "a", "needs nodes"),
    "no such field": (
        [LOAD, node("a", double, input=ref("load").total)],
        "a",
        "load has no field 'total': it is an object with id, lines, urgent, note",
    ),
    "no such field of the input": ([node("a", double, input=inputs.total)], "a", "inputs has no field 'total'"),
    "a field of a number": ([node("a", double, input=1), node("b", double, input=ref("a").x)], "b", "it is integer"),
    "a field of a pydantic model": ([node("a", model, input=1), node("b", anything, input=ref("a").wieght)], "b", "no field 'wieght'"),
    "another type": ([LOAD, node("a", double, input=ref("load").id)], "a", "expected integer, got string"),
    "another type within": (
        [node("a", charge, input={"orderId": inputs.id, "amount": inputs.id})],
        "a",
        "at $.amount: expected integer, got string",
    ),
    "a dict of another type": ([node("a", counts), node("b", charge, input=ref("a"))], "b", "at $.orderId: expected string, got integer"),
    "a missing field": ([node("a", charge, input={"orderId": inputs.id})], "a", "missing field 'amount'"),
    "Python's name of a field": ([node("a", charge, input={"order_id": inputs.id, "amount": 1})], "a", "missing field 'orderId'"),
    "another object": ([LOAD, node("a", charge, input=ref("load"))], "a", "missing field 'orderId'"),
    "a list for one": ([node("a", double, each=inputs.lines), node("b", double, input=ref("a"))], "b", "expected integer, got array"),
    "no input": ([node("a", double)], "a", "expected integer, got null"),
    "an input too many": ([node("a", nothing, input=3)], "a", "expected null, got integer"),
    "a float for an int": ([node("a", weigh, input=Parcel(1.5)), node("b", double, input=ref("a"))], "b", "expected integer, got number"),
    "another text": ([node("a", colour, input="blue")], "a", "expected one of 'green', 'red', got 'blue'"),
    "each of no list": ([node("a", double, each=inputs.id)], "a", "no list"),
    "item without each": ([node("a", double, input=item)], "a", "`item` means something"),
    "items of another type": ([node("a", double, each=["x"])], "a", "expected integer, got string"),
    "a condition that is none": ([node("a", double, input=1, when=inputs.id)], "a", "no condition"),
    "an order of unlike values": ([node("a", double, input=1, when=inputs.id > 3)], "a", "compares string with integer"),
    "a text in a condition": ([node("a", double, input=1, when=inputs.urgent & inputs.id)], "a", "neither true nor false"),
    "in no list": ([node("a", double, input=1, when=inputs.id.is_in(inputs.id))], "a", "is_in takes a list"),
    "a type deep within": (
        [node("a", tree, input={"value": 1, "children": [{"value": 1, "children": [{"value": "x"}]}]})],
        "a",
        "$.children[0].children[0].value",
    ),
    "a child's input": ([node("a", child, input=inputs.id)], "a", "expected integer"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    nodes, name, reason = REFUSED[case]
    with pytest.raises(InvalidGraph) as caught:
        graph(name="g", input=Order, nodes=nodes)
    assert caught.value.node == name
    assert reason in caught.value.reason
    assert "graph 'g'" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"runs": 3}, "a task or a workflow"),
        ({"runs": double, "join": "most"}, "join must be"),
        ({"runs": double, "cancel_rest": True}, 'needs join="any"'),
        ({"runs": double, "concurrency": 0}, "concurrency"),
        ({"runs": double, "retry": 3}, "a Retry"),
        ({"runs": double, "input": float("nan")}, "JSON has no nan"),
        ({"runs": double, "input": {1: 2}}, "keys of an object are text"),
        ({"runs": child, "heartbeat": 3}, "heartbeat: a sub-workflow has no such option"),
    ],
)
def test_nodes_that_cannot_be(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidGraph, match=reason) as caught:
        node("a", **options)
    assert caught.value.node == "a"


def test_output_and_what_it_returns() -> None:
    with pytest.raises(InvalidGraph, match="no node 'b'"):
        graph(name="g", nodes=[node("a", double, input=1)], output=ref("b"))
    with pytest.raises(InvalidGraph, match="expected string, got integer"):
        graph(name="g", nodes=[node("a", double, input=1)], output=ref("a"), returns=str)
    with pytest.raises(InvalidGraph, match=r"at \$.a: expected string, got integer"):
        graph(name="g", nodes=[node("a", double, input=1)], returns=dict[str, str])
    assert graph(name="g", nodes=[node("a", double, input=1)], returns=dict[str, int]).ends == ("a",)


def test_what_passes() -> None:
    g = graph(
        name="g",
        input=Order,
        nodes=[
            node("late", double, input=ref("early"), retry=Retry.never(), timeout=3),
            node("early", double, input=inputs.lines[0]),
            node("struct", charge, input=Payment(inputs.id, ref("early"))),  # type: ignore[arg-type]
            node("dataclass", weigh, input=Parcel(ref("early"))),  # type: ignore[arg-type]
            node("weight", weigh, input={"weight": ref("model").weight}),
            node("model", model, input=ref("early")),
            node("narrowed", load, input=inputs.note, when=inputs.note != None),  # noqa: E711
            node("default", load, input=inputs.note.otherwise("none")),
            node("unknown", anything, input={"a": ref("late"), "b": [1, ref("narrowed")]}),
            node("of unknown", double, input=ref("unknown").a[0].b),
            node("colour", colour, input=ref("colours")),
            node("colours", colour, input=inputs.id),
            node("child", child, input=ref("early")),
            node("all", double, each=ref("many")),
            node("many", double, each=[1, inputs.lines[0]]),
            node("tree", tree, input={"value": 1, "children": [{"value": ref("many")[0]}]}),
            node("trees", tree, input=ref("tree").children[0].children[-1]),
            node("nothing", nothing, after=["tree", "child"], join="any", cancel_rest=True),
        ],
    )
    names = [each.name for each in g.nodes]
    assert names.index("early") < names.index("late") < names.index("unknown")
    assert "late" not in g.ends


def test_expressions_refuse_what_python_would_get_wrong() -> None:
    wrongs: list[Callable[[], Any]] = [
        lambda: bool(inputs.a),
        lambda: 1 < inputs.a < 3,
        lambda: inputs.a and True,
        lambda: list(inputs.a),
        lambda: 3 in inputs.a,
        lambda: inputs.a(),
        lambda: inputs[1.5],  # type: ignore[index]
        lambda: ref(3),  # type: ignore[arg-type]
    ]
    for wrong in wrongs:
        with pytest.raises(DefinitionError):
            wrong()
    with pytest.raises(AttributeError):
        inputs._private  # noqa: B018

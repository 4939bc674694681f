"""A node: what runs, on which input, after what, and when."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from aiki.graph.expression import Expression, item, term_of
from aiki.graph.term import Constant, Term, nodes_of
from aiki.task import Task
from aiki.types.duration import Duration
from aiki.types.errors import DefinitionError, InvalidGraph, PayloadError
from aiki.types.names import check_name
from aiki.types.retry import Retry
from aiki.workflow import Workflow

__all__ = ["CONCURRENCY", "Join", "Node", "node"]

CONCURRENCY = 10
"""Items of one fan-out that are under way at a time, unless the node says otherwise."""

Join = Literal["all", "any"]

_OF_TASKS = frozenset({"start_timeout", "heartbeat", "local"})


class Node(NamedTuple):
    """Made by `node(…)`. `depends` are those that it waits for: named by `after` or referred to. `races`: those of which one is enough."""

    name: str
    runs: Task[Any, Any, ..., Any] | Workflow[Any, Any]
    input: Term
    after: tuple[str, ...]
    when: Term | None
    each: Term | None
    join: Join
    cancel_rest: bool
    concurrency: int
    options: Mapping[str, Any]
    depends: tuple[str, ...]
    races: tuple[str, ...] = ()


def node(
    name: str,
    runs: Task[Any, Any, ..., Any] | Workflow[Any, Any],
    *,
    input: Any = None,
    after: str | Iterable[str] = (),
    when: Expression | bool | None = None,
    each: Any = None,
    join: Join = "all",
    cancel_rest: bool = False,
    concurrency: int = CONCURRENCY,
    queue: str | None = None,
    retry: Retry | None = None,
    timeout: Duration | None = None,
    deadline: Duration | None = None,
    start_timeout: Duration | None = None,
    heartbeat: Duration | None = None,
    local: bool | None = None,
) -> Node:
    """A node of a graph: a task, or a workflow that becomes a sub-workflow.

    `input` is made of expressions and plain values; with `each` it defaults to the item. The node waits for those named by `after` and
    those that it refers to. With `join="any"` the first that completes of those named by `after` is enough (of those referred to, when none
    is named): the outputs of the others are null then, and `cancel_rest` cancels what nobody else needs. `when`: it is skipped unless this
    is true. `each`: a step per item of that list, `concurrency` at a time; the output is the list of their outputs. The other options are
    those of `task.run` and `workflow.run`. Raises `InvalidGraph`.
    """
    check_name(name, "node")
    if not isinstance(runs, Task | Workflow):
        raise _invalid(name, f"it runs a task or a workflow, not {runs!r}: is its decorator missing?")
    if join not in ("all", "any"):
        raise _invalid(name, f'join must be "all" or "any", not {join!r}')
    if cancel_rest and join != "any":
        raise _invalid(name, 'cancel_rest=True needs join="any": with "all" there is no rest')
    if type(concurrency) is not int or concurrency < 1:
        raise _invalid(name, f"concurrency must be a whole number from 1 on, not {concurrency!r}")
    given = {
        "queue": queue,
        "retry": retry,
        "timeout": timeout,
        "deadline": deadline,
        "start_timeout": start_timeout,
        "heartbeat": heartbeat,
        "local": local,
    }
    options = {key: value for key, value in given.items() if value is not None}
    if isinstance(runs, Workflow) and (wrong := sorted(_OF_TASKS & options.keys())):
        raise _invalid(name, f"{', '.join(wrong)}: a sub-workflow has no such option")
    if retry is not None and not isinstance(retry, Retry):
        raise _invalid(name, f"retry must be a Retry, for example Retry.fixed(…), not {retry!r}")
    try:
        terms = {
            "input": item._term if input is None and each is not None else term_of(input),
            "when": None if when is None else term_of(when),
            "each": None if each is None else term_of(each),
        }
    except (DefinitionError, PayloadError) as error:
        raise _invalid(name, error.message) from error
    named = (after,) if isinstance(after, str) else tuple(after)
    referred = [each for term in terms.values() if term is not None for each in nodes_of(term)]
    depends = tuple(dict.fromkeys([*named, *referred]))
    return Node(
        name=name,
        runs=runs,
        input=terms["input"] or Constant(None),
        after=named,
        when=terms["when"],
        each=terms["each"],
        join=join,
        cancel_rest=cancel_rest,
        concurrency=concurrency,
        options=options,
        depends=depends,
        races=() if join == "all" else tuple(dict.fromkeys(named)) or depends,
    )


def _invalid(name: str, reason: str) -> InvalidGraph:
    return InvalidGraph(f"node {name!r}: {reason}", graph=None, node=name, reason=reason)

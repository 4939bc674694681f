"""What is said when code and journal do not fit: the recorded steps and the code's, side by side.

Inputs are not shown, since they may be secret: a step's address holds the hash of its input, or of its idempotency key.
"""

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import NamedTuple

from aiki.journal.operation import StepId
from aiki.types.errors import NonDeterminismError

__all__ = ["Call", "mismatch", "says_otherwise"]

MOST_SHOWN = 10
HASH_SHOWN = 8


class Call(NamedTuple):
    """A call of a step. `place`: its number in the journal, from 1 on, if it is recorded there."""

    id: StepId
    place: int | None = None

    def __str__(self) -> str:
        """As it stands in the `fields` of the error."""
        address, ordinal = self.id
        return f"{self._name} ({address}, call {ordinal + 1})"

    @property
    def _name(self) -> str:
        address = self.id[0]
        return address[: max(address.rfind(":"), address.rfind("!"))]

    @property
    def shown(self) -> str:
        """As it stands in the message."""
        address, ordinal = self.id
        content = address[len(self._name) + 1 :][:HASH_SHOWN]
        by = "key" if address[len(self._name)] == "!" else "input"
        entry = "" if self.place is None else f"entry {self.place}: "
        return f"{entry}{self._name} #{ordinal + 1} ({by} {content}…)"


def mismatch(what: str, recorded: Sequence[Call], issued: Sequence[Call], headings: tuple[str, str], advice: str) -> NonDeterminismError:
    """The error. `headings`: of the two columns."""
    left, right = _cells(recorded), _cells(issued)
    width = max(len(cell) for cell in (headings[0], *left))
    rows = [headings, ("-" * len(headings[0]), "-" * len(headings[1])), *zip_longest(left, right, fillvalue="")]
    lines = "".join(f"  {first:<{width}}  | {second}".rstrip() + "\n" for first, second in rows)
    return NonDeterminismError(f"{what}\n{lines}{advice}", recorded=[str(call) for call in recorded], issued=[str(call) for call in issued])


def says_otherwise(before: set[StepId], now: set[StepId]) -> NonDeterminismError:
    """Code that is replayed over the same journal calls other steps than it did."""
    return mismatch(
        "the code, replayed over the same journal, called other steps than before",
        [Call(id) for id in sorted(before - now)],
        [Call(id) for id in sorted(now - before)],
        ("before, but not now", "now, but not before"),
        "Take time, chance and ids from the context (ctx.now(), ctx.random(), ctx.uuid()), and everything else from steps.",
    )


def _cells(calls: Iterable[Call]) -> list[str]:
    cells = [call.shown for call in calls]
    more = [f"… and {len(cells) - MOST_SHOWN} more"] if len(cells) > MOST_SHOWN else []
    return [*cells[:MOST_SHOWN], *more] or ["(none)"]

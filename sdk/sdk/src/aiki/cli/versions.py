"""Which version of a workflow a start from the command line means: one that live workers serve."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiki.types.errors import UnknownWorkflow

if TYPE_CHECKING:
    from aiki.actors.roster import WorkerInfo

__all__ = ["served_version"]


def served_version(workflow: str, workers: "Sequence[WorkerInfo]") -> str:
    """The newest version of `workflow` that live workers serve: 1.9, 1.10-rc1, 1.10. Else `UnknownWorkflow`."""
    served = sorted({pair for worker in workers for pair in worker.workflows}, key=lambda pair: (pair[0], _rank(pair[1])))
    versions = [version for name, version in served if name == workflow]
    if versions:
        return versions[-1]
    known = ", ".join(f"{name} {version}" for name, version in served)
    what = f"live workers serve: {known}" if known else "no live worker serves anything"
    raise UnknownWorkflow(
        f"no live worker serves workflow {workflow!r}; {what}; to start it for a worker that is still to come, give --version",
        workflow=workflow,
        version=None,
        known=known,
    )


def _rank(version: str) -> list[tuple[int, int, str]]:
    parts = re.findall(r"\d+|[^\d.]+", version)
    # The end counts more than a word, so 1.0-rc1 comes before 1.0, and less than a number, so 1.0 comes before 1.0.1.
    return [*((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts), (0, 1, "")]

"""Which workflows live workers serve, and which version is meant when none is named."""

import re
from collections.abc import Sequence

from aiki.actors.roster import WorkerInfo
from aiki.types.errors import UnknownWorkflow

__all__ = ["find_served"]


def find_served(workers: Sequence[WorkerInfo], workflow: str, version: str | None = None) -> str:
    """The version of `workflow` that live workers serve: the one asked for, or the newest (1.9, 1.10-rc1, 1.10). Else `UnknownWorkflow`."""
    served = sorted({pair for worker in workers for pair in worker.workflows}, key=lambda pair: (pair[0], _rank(pair[1])))
    found = [each for name, each in served if name == workflow and version in (None, each)]
    if found:
        return found[-1]
    wanted = f"workflow {workflow!r}" + ("" if version is None else f" version {version!r}")
    known = ", ".join(f"{name} {each}" for name, each in served)
    what = f"live workers serve: {known}" if known else "no live worker serves anything"
    raise UnknownWorkflow(
        f"no live worker serves {wanted}; {what}; to start it for a worker that is still to come, name its version",
        workflow=workflow,
        version=version,
        known=served,
    )


def _rank(version: str) -> list[tuple[int, int, str]]:
    parts = re.findall(r"\d+|[^\d.]+", version)
    # The end counts more than a word, so 1.0-rc1 comes before 1.0, and less than a number, so 1.0 comes before 1.0.1.
    return [*((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts), (0, 1, "")]

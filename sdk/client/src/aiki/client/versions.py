"""Versions of workflows, as clients see and retire them."""

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from aiki.actors import versions
from aiki.types.names import check_name
from aiki.types.states import is_final

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["VersionView", "list_versions", "retire", "show_version", "unretire"]


class VersionView(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a workflow, and what still uses it.

    `workers` serve it now, `schedules` start it, `runs` counts its runs by state (None: they were not counted). `drained`: it is retired,
    and no run of it is left that has not ended (None: not counted).
    """

    workflow: str
    version: str
    retired_at: datetime | None = None
    reason: str = ""
    workers: tuple[str, ...] = ()
    schedules: tuple[str, ...] = ()
    runs: dict[str, int] | None = None
    drained: bool | None = None

    @property
    def retired(self) -> bool:
        """Whether it takes no new runs."""
        return self.retired_at is not None


async def retire(client: "Client", workflow: str, version: str, reason: str) -> None:
    """See `Client.retire_version`."""
    mark = versions.RetiredMark(
        workflow=check_name(workflow, "workflow"), version=check_name(version, "version"), retired_at=await client.now(), reason=reason
    )
    await versions.retire(client.transport, client.subjects, mark)
    client.retired.forget()


async def unretire(client: "Client", workflow: str, version: str) -> None:
    """See `Client.unretire_version`."""
    await versions.unretire(client.transport, client.subjects, check_name(workflow, "workflow"), check_name(version, "version"))
    client.retired.forget()


async def list_versions(client: "Client", workflow: str | None) -> list[VersionView]:
    """See `Client.versions`."""
    marks = {(mark.workflow, mark.version): mark for mark in await versions.read_all(client.transport, client.subjects)}
    workers: dict[tuple[str, str], list[str]] = {}
    for worker in await client.workers():
        for name, version in worker.workflows:
            workers.setdefault((name, version), []).append(worker.id)
    schedules: dict[tuple[str, str], list[str]] = {}
    async for schedule in client.schedules():
        schedules.setdefault((schedule.workflow, schedule.version), []).append(schedule.id)
    found = sorted(marks.keys() | workers.keys() | schedules.keys())
    return [_view(pair, marks.get(pair), workers.get(pair, []), schedules.get(pair, [])) for pair in found if workflow in (None, pair[0])]


async def show_version(client: "Client", workflow: str, version: str) -> VersionView:
    """See `Client.version`."""
    known = [view for view in await list_versions(client, check_name(workflow, "workflow")) if view.version == version]
    view = known[0] if known else VersionView(workflow=workflow, version=check_name(version, "version"))
    runs: Counter[str] = Counter()
    open_runs = 0
    async for run in client.runs(workflow=workflow):
        if run.version == version:
            runs[run.state] += 1
            open_runs += not is_final(run.state)
    return msgspec.structs.replace(view, runs=dict(sorted(runs.items())), drained=view.retired and not open_runs)


def _view(pair: tuple[str, str], mark: versions.RetiredMark | None, workers: list[str], schedules: list[str]) -> VersionView:
    return VersionView(
        workflow=pair[0],
        version=pair[1],
        retired_at=None if mark is None else datetime.fromtimestamp(mark.retired_at, UTC),
        reason="" if mark is None else mark.reason,
        workers=tuple(sorted(workers)),
        schedules=tuple(sorted(schedules)),
    )

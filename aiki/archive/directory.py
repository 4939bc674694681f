"""An archive: a folder with a file per region, workflow and day, or one file."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from aiki.archive.record import ArchivedRun, read_records
from aiki.archive.writer import write_records
from aiki.types.errors import PayloadError
from aiki.types.names import to_token

__all__ = ["Archive"]

ENDING = ".jsonl.gz"
MOST_KNOWN = 1000
"""Files of which is remembered where they end."""


class Archive:
    """Runs that have ended, in `<folder>/<region>/<workflow>/<day of the end, UTC>.jsonl.gz`; or in one file, if its name ends with `.gz`.

    Several archivers may write into one. All methods block: call them in a thread.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[Path, int] = {}
        self._is_file = path.is_file() or path.name.endswith(".gz")

    def add(self, records: Iterable[ArchivedRun]) -> None:
        """When this has returned, they are on the disk. `OSError` when not; then it may be called again with the same."""
        by_file: defaultdict[Path, list[ArchivedRun]] = defaultdict(list)
        for record in records:
            by_file[self._file(record)].append(record)
        for file, some in by_file.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            write_records(file, some, self._known)

    def _file(self, record: ArchivedRun) -> Path:
        if self._is_file:
            return self.path
        day = datetime.fromtimestamp(record.ended_at, UTC).strftime("%Y-%m-%d")
        return self.path / to_token(record.region) / to_token(record.workflow) / f"{day}{ENDING}"

    def files(self, *, workflow: str | None = None) -> list[Path]:
        """Those that there are, sorted. `PayloadError` when there is no such archive."""
        if self._is_file:
            return [self.path]
        if not self.path.is_dir():
            raise PayloadError(f"there is no archive at {self.path}", where=str(self.path), reason="no such file or folder")
        return sorted(self.path.glob(f"*/{'*' if workflow is None else to_token(workflow)}/*{ENDING}"))

    def records(self, *, workflow: str | None = None, run_id: str | None = None) -> Iterator[ArchivedRun]:
        """Each end of a run once, though an archiver that died may have written it twice. Raises `PayloadError`."""
        seen: set[tuple[str, float]] = set()
        for file in self.files(workflow=workflow):
            for record in read_records(file):
                if record.end in seen or run_id not in (None, record.run_id) or workflow not in (None, record.workflow):
                    continue
                seen.add(record.end)
                yield record

    def find(self, run_id: str) -> ArchivedRun | None:
        """The record of the run's last end."""
        return max(self.records(run_id=run_id), key=lambda record: record.ended_at, default=None)

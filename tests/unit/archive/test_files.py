"""Files of an archive: whatever is cut off or doubled, what was confirmed is read, once."""

import gzip
import logging
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiki.archive import Archive, ArchivedRun, read_records, write_records
from aiki.journal import RunState, encode_state
from aiki.types.errors import PayloadError

T0 = 1_700_000_000.0


def record(number: int, *, workflow: str = "order", day: int = 0) -> ArchivedRun:
    ended = T0 + day * 86_400 + number
    state = RunState(
        run_id=f"{number:026}",
        workflow=workflow,
        version="1",
        status="completed",
        input=b"null",
        input_hash=b"",
        created_at=T0,
        started_at=T0,
        updated_at=ended,
        finished_at=ended,
        result=bytes(str(number), "ascii"),
    )
    return ArchivedRun.of(state, encode_state(state), (b"one", b"two"), region="eu", now=ended + 1)


def test_records_are_sorted_into_files_by_workflow_and_day(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    records = [record(1), record(2), record(3, day=1), record(4, workflow="a/b")]
    archive.add(records)
    archive.add([record(5)])
    assert [str(file.relative_to(tmp_path)) for file in archive.files()] == [
        "eu/a=2Fb/2023-11-14.jsonl.gz",
        "eu/order/2023-11-14.jsonl.gz",
        "eu/order/2023-11-15.jsonl.gz",
    ]
    assert [each.run_id[-1] for each in archive.records()] == ["4", "1", "2", "5", "3"]
    assert [each.run_id[-1] for each in archive.records(workflow="a/b")] == ["4"]
    assert archive.find(records[1].run_id) == records[1]
    assert archive.find("nobody") is None
    lines = gzip.decompress(archive.files()[1].read_bytes()).splitlines()
    assert [msgspec.json.decode(line)["outcome"] for line in lines] == ["completed"] * 3


def test_one_file_for_all(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "all.jsonl.gz"
    archive = Archive(file)
    archive.add([record(1), record(2, workflow="other", day=3)])
    assert len(list(Archive(file).records())) == 2
    assert archive.files() == [file]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=3), min_size=1, max_size=5), st.data())
def test_a_write_that_is_cut_off_anywhere_takes_nothing_along(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]], data: st.DataObject
) -> None:
    """Each batch is confirmed, or cut off by a crash and written once more by whoever comes next."""
    folder = tmp_path_factory.mktemp("cut")
    file = folder / "day.jsonl.gz"
    known: dict[Path, int] = {}
    for batch in batches:
        before = file.stat().st_size if file.exists() else 0
        if data.draw(st.booleans(), label="crash"):
            write_records(file, [record(number) for number in batch])
            size = file.stat().st_size
            with file.open("r+b") as opened:
                opened.truncate(data.draw(st.integers(before, size - 1), label="cut"))
            known = {}  # a new process
        assert write_records(file, [record(number) for number in batch], known) == file
    assert [each.run_id for each in read_records(file)] == [record(number).run_id for batch in batches for number in batch]
    assert len(list(Archive(file).records())) == len({number for batch in batches for number in batch})


def test_a_damaged_file_is_left_as_it_is_and_read_as_far_as_it_goes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "day.jsonl.gz"
    write_records(file, [record(1)])
    with file.open("ab") as opened:
        opened.write(b"\0" * 512)  # what a power cut may leave
    damaged = file.read_bytes()
    other = write_records(file, [record(2)])
    assert other == tmp_path / "day~2.jsonl.gz"
    assert file.read_bytes() == damaged
    with caplog.at_level(logging.WARNING, "aiki.archive"):
        assert [each.run_id for each in read_records(file)] == [record(1).run_id]
    assert "is damaged after byte" in caplog.text


def test_what_is_no_archive_is_refused_with_its_name(tmp_path: Path) -> None:
    for name, content in (("a.txt", b"hello"), ("b.gz", b"\x1f\x8bnonsense"), ("c.json", b'{"format":2}'), ("d", b"\xff\xfe{")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PayloadError, match=name):
            list(read_records(tmp_path / name))
    with pytest.raises(PayloadError, match="cannot be read"):
        list(read_records(tmp_path / "missing"))
    with pytest.raises(PayloadError, match="no archive"):
        list(Archive(tmp_path / "missing").records())

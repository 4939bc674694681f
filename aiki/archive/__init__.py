"""The record of runs that have ended, in files."""

from aiki.archive.directory import Archive
from aiki.archive.record import ArchivedRun, read_records
from aiki.archive.writer import write_records

__all__ = ["Archive", "ArchivedRun", "read_records", "write_records"]

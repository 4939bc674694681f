"""Lines: the runs of a workflow, or of one key of it, that are under way, and those that wait for a place among them. No I/O."""

from aiki.lines.line import MOST_WAITING, LineState, Place, decode_line, encode_line, enter, leave, older

__all__ = ["MOST_WAITING", "LineState", "Place", "decode_line", "encode_line", "enter", "leave", "older"]

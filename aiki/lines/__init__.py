"""What starts of runs must pass, without I/O.

Lines: the runs of a workflow, or of one key of it, that are under way, and those that wait for a place among them. Gatherings: calls that
become one run.
"""

from aiki.lines.gathering import Gathering, decode_gathering, encode_gathering
from aiki.lines.line import MOST_WAITING, LineState, Place, decode_line, encode_line, enter, leave, older

__all__ = [
    "MOST_WAITING",
    "Gathering",
    "LineState",
    "Place",
    "decode_gathering",
    "decode_line",
    "encode_gathering",
    "encode_line",
    "enter",
    "leave",
    "older",
]

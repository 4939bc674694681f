"""NATS header blocks: `NATS/1.0[ status[ description]]`, then one `Name: value` a line."""

from collections.abc import Mapping

from aiki.types.errors import TransportError

__all__ = ["format_headers", "parse_headers", "parse_status"]


def format_headers(headers: Mapping[str, str]) -> str:
    """The lines of `headers`, each ended by CRLF. A name or value that could break out of its line raises `TransportError`."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise TransportError("a header's name or value holds a line break")
    return lines


def parse_headers(block: bytes) -> dict[str, str]:
    """The headers in a block; of several with one name the last counts."""
    if not block:
        return {}
    headers = {}
    for line in block.decode("utf-8", "replace").split("\r\n")[1:]:
        name, found, value = line.partition(":")
        if found:
            headers[name] = value.strip()
    return headers


def parse_status(block: bytes) -> int:
    """The status in a block's first line (503: no responders); 0 when there is none."""
    if block[8:9] != b" ":
        return 0
    code = block[9:12]
    return int(code) if code.isdigit() else 0

"""Large texts and bytes to JSON and back, piece by piece in a thread: no step of it keeps other threads from running for long.

A codec in C holds the interpreter's lock until it is done, so a thread alone would not do. What is neither `str` nor `bytes` is encoded and
decoded in one go, where it is asked for.
"""

import asyncio
import binascii
from typing import Any

import msgspec

from aiki.schema.port import Schema
from aiki.schema.structural import StructuralSchema, check_size

__all__ = ["decoded", "encoded"]

BULK = 1024 * 1024
"""Bytes, or characters, above which it is done in pieces."""

PIECE = 3 * 128 * 1024
"""Of a piece; a multiple of three, as base64 takes three bytes at a time."""

_encoder = msgspec.json.Encoder()
_text = msgspec.json.Decoder(str)
_LONGEST_ESCAPE = 12
"""Bytes of two surrogates, `\\ud83d\\ude00`."""
_QUOTE, _BACKSLASH = ord('"'), b"\\"


async def encoded(schema: Schema[Any], value: Any, where: str) -> bytes:
    """See `Schema.encode`, for payloads that may be large."""
    annotation = _annotation(schema)
    if len(value) > BULK if type(value) is annotation else False:
        make = _encode_text if annotation is str else _encode_bytes
        try:
            data = await asyncio.to_thread(make, value)
        except UnicodeEncodeError:
            return schema.encode(value, where, large=True)  # which says what is wrong
        check_size(data, where, large=True)
        return data
    return schema.encode(value, where, large=True)


async def decoded(schema: Schema[Any], data: bytes, where: str) -> Any:
    """See `Schema.decode`, for payloads that may be large."""
    annotation = _annotation(schema)
    if len(data) > BULK and annotation is not None and data[0] == data[-1] == _QUOTE:
        take = _decode_text if annotation is str else _decode_bytes
        value = await asyncio.to_thread(take, data)
        if value is not None:
            return value
    return schema.decode(data, where)


def _annotation(schema: Schema[Any]) -> Any:
    annotation = schema.annotation if isinstance(schema, StructuralSchema) else None
    return annotation if annotation in (str, bytes) else None


def _encode_bytes(value: bytes) -> bytes:
    view = memoryview(value)
    parts = [binascii.b2a_base64(view[begin : begin + PIECE], newline=False) for begin in range(0, len(view), PIECE)]
    return b"".join([b'"', *parts, b'"'])


def _decode_bytes(data: bytes) -> bytes | None:
    view = memoryview(data)[1:-1]
    size = PIECE // 3 * 4
    try:
        return b"".join([binascii.a2b_base64(view[begin : begin + size], strict_mode=True) for begin in range(0, len(view), size)])
    except binascii.Error:
        return None


def _encode_text(value: str) -> bytes:
    parts = [_encoder.encode(value[begin : begin + PIECE])[1:-1] for begin in range(0, len(value), PIECE)]
    return b"".join([b'"', *parts, b'"'])


def _decode_text(data: bytes) -> str | None:
    end, parts, begin = len(data) - 1, [], 1
    while begin < end:
        cut = _cut(data, begin + PIECE, end)
        if cut <= begin:
            return None
        try:
            parts.append(_text.decode(b'"%b"' % data[begin:cut]))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        begin = cut
    text = ""
    for part in parts:
        text += part  # grows where it is; a join would copy all of it at once
    return text


def _cut(data: bytes, wanted: int, end: int) -> int:
    """Where a text may be cut: neither within a character nor within an escape."""
    if wanted >= end:
        return end
    for at in range(wanted, wanted - PIECE, -1):
        if data[at] & 0xC0 != 0x80 and data.find(_BACKSLASH, at - _LONGEST_ESCAPE, at) < 0:
            return at
    return 0

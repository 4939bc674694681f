"""Large texts and bytes in pieces come to what the codec makes of them in one go."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiki.schema import bulk, decoded, encoded, schema_for
from aiki.types.errors import PayloadError, PayloadTooLarge

texts = st.text(st.characters(codec="utf-8"), max_size=300) | st.text('\\"\n\u00e9\U0001f600a', max_size=300)


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "BULK", 8)
        patch.setattr(bulk, "PIECE", 48)
        yield


@settings(max_examples=400)
@given(texts)
def test_texts_in_pieces(text: str) -> None:
    data = bulk._encode_text(text)
    assert data == msgspec.json.encode(text)
    assert bulk._decode_text(data) in (text, None)
    escaped = msgspec.json.decode(data)
    ascii_only = b'"' + "".join(c if " " <= c <= "~" and c not in '\\"' else _escape(c) for c in escaped).encode() + b'"'
    assert bulk._decode_text(ascii_only) in (text, None)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


@given(st.binary(max_size=300))
def test_bytes_in_pieces(value: bytes) -> None:
    data = bulk._encode_bytes(value)
    assert data == msgspec.json.encode(value)
    assert bulk._decode_bytes(data) == value


@pytest.mark.parametrize("value", ["é" * 1000, b"abc" * 1000, "x\n" * 1000])
async def test_a_large_value_there_and_back(value: Any) -> None:
    schema = schema_for(type(value), "value")
    assert await decoded(schema, await encoded(schema, value, "value"), "value") == value


async def test_what_does_not_fit_is_refused_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    text, raw = schema_for(str, "value"), schema_for(bytes, "value")
    with pytest.raises(PayloadError):
        await decoded(raw, b'"not base64, at all!"', "value")
    with pytest.raises(PayloadError):
        await decoded(text, b'"\xff\xff\xff\xff\xff\xff\xff\xff\xff"', "value")
    with pytest.raises(PayloadError):
        await encoded(text, "\ud800" * 100, "value")
    monkeypatch.setenv("AIKI_MAX_PAYLOAD", "300000")
    with pytest.raises(PayloadTooLarge):
        await encoded(text, "a" * 300_000, "value")

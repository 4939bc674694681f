"""What is sealed opens in its own place, with its own key, unchanged; and nowhere else."""

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiki.codec import AesGcmCodec, new_key, read_key_file
from aiki.codec.key_file import is_open_to_others
from aiki.journal import Published, Wait, encode_state, new_run, peek_state
from aiki.sealing import Sealer
from aiki.sealing.disclosure import context_of, disclose, kind_of, public_state
from aiki.types.errors import DefinitionError, KeyMissing, Tampered
from aiki.types.failure import ErrorInfo
from aiki.types.messages import Ended, Start, decode_mail, encode, peek_mail
from aiki.types.sealed import Sealed, carry, is_sealed, key_of, parse, public_part

OLD, NEW = new_key(), new_key()


def sealer(active: str | None = "new", **keys: bytes) -> Sealer:
    return Sealer(AesGcmCodec(keys or {"old": OLD, "new": NEW}, active))


def opened(sealer: Sealer, data: bytes, context: str) -> bytes:
    parts = parse(data)
    assert isinstance(parts, Sealed)
    return sealer.open(parts, context)


@given(st.binary(min_size=1), st.text(max_size=30), st.binary(max_size=50))
def test_a_value_comes_back(plain: bytes, context: str, public: bytes) -> None:
    if is_sealed(plain):
        return
    sealed = sealer().seal(plain, context, public)
    assert is_sealed(sealed) and key_of(sealed) == "new" and public_part(sealed) == public
    assert opened(sealer(), sealed, context) == plain


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_value_opens_in_its_own_place_alone(here: str, there: str) -> None:
    sealed = sealer().seal(b"secret", here)
    if here != there:
        with pytest.raises(Tampered):
            opened(sealer(), sealed, there)


@settings(max_examples=300)
@given(st.data())
def test_no_byte_may_be_changed(data: st.DataObject) -> None:
    sealed = bytearray(sealer().seal(b"a secret that matters", "here", b"public"))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    if is_sealed(bytes(sealed)):
        with pytest.raises((Tampered, KeyMissing)):
            opened_carelessly(bytes(sealed))


def opened_carelessly(data: bytes) -> bytes:
    parts = parse(data)
    if not isinstance(parts, Sealed):
        raise Tampered("it is no longer a sealed value")
    return sealer().open(parts, "here")


@given(st.binary(max_size=200))
def test_rubbish_is_refused(rubbish: bytes) -> None:
    for layout in (b"\xc1\x01", b"\xc1\x02", b"\xc1"):
        with pytest.raises((Tampered, KeyMissing)):
            opened_carelessly(layout + rubbish)


def test_rotation() -> None:
    before = sealer("old", old=OLD)
    between = sealer("old")
    after = sealer("new")
    done = sealer("new", new=NEW)
    first = before.seal(b"first", "here")
    second = after.seal(b"second", "here")
    assert opened(after, first, "here") == b"first" and opened(between, second, "here") == b"second"
    with pytest.raises(KeyMissing) as missing:
        opened(done, first, "here")
    assert missing.value.key == "old"
    assert done.open_if_known(first, "here") == first


def test_another_key_of_the_same_id_is_told_apart() -> None:
    with pytest.raises(Tampered, match="'new'"):
        opened(sealer("new", new=OLD), sealer().seal(b"x", "here"), "here")


def test_the_same_value_never_looks_the_same() -> None:
    assert len({sealer().seal(b"yes", "here") for _ in range(1000)}) == 1000


def test_without_an_active_key_nothing_is_sealed_and_all_is_opened() -> None:
    reader = sealer(None)
    assert reader.seal(b"x", "here") == b"x"
    assert opened(reader, sealer().seal(b"x", "here"), "here") == b"x"


def test_decoders_name_the_missing_key() -> None:
    sealed = sealer().seal(encode(Ended("r", "completed", b"1", None)), "here")
    with pytest.raises(KeyMissing, match="'new'"):
        decode_mail(sealed)
    start = Start("r", "w", "1", b'"secret"', b"hash", 1.0)
    public = encode(Start("r", "w", "1", b"", b"", 1.0, locked="new"))
    peeked = peek_mail(sealer().seal(encode(start), "here", public))
    assert isinstance(peeked, Start) and peeked.locked == "new" and peeked.workflow == "w" and peeked.input == b""


def test_what_is_carried_names_its_key() -> None:
    inner = sealer().seal(b"x", "there")
    assert key_of(carry(b"", "there", carry(b"", "there", inner))) == "new"


@pytest.mark.parametrize(
    ("keys", "active", "said"),
    [
        ({}, None, "needs keys"),
        ({"k": b"short"}, "k", "32 random bytes"),
        ({"k": "text"}, "k", "32 random bytes"),
        ({"": OLD}, None, "id"),
        ({"k": OLD}, "other", "'other'"),
    ],
)
def test_bad_keys_are_refused(keys: dict[str, bytes], active: str | None, said: str) -> None:
    with pytest.raises(DefinitionError, match=said) as refused:
        AesGcmCodec(keys, active)
    assert "short" not in str(refused.value)


def test_a_file_of_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"active": "k", "keys": {"k": base64.b64encode(OLD).decode()}}))
    file.chmod(0o644)
    assert is_open_to_others(file)
    file.chmod(0o600)
    assert not is_open_to_others(file)
    codec = read_key_file(file)
    assert codec.active == "k" and codec.knows("k") and OLD.hex() not in repr(codec)


@pytest.mark.parametrize("text", ["", "[]", '{"keys": {"k": "!!"}, "active": "k"}', '{"keys": {}}', '{"key": {}}'])
def test_a_file_that_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(text)
    with pytest.raises(DefinitionError):
        read_key_file(file)
    with pytest.raises(DefinitionError, match="cannot be read"):
        read_key_file(tmp_path / "none.json")


class Vault:
    """A provider of keys that counts how often it is asked."""

    def __init__(self) -> None:
        self.keys = {"k1": OLD}
        self.sealing = "k1"
        self.asked: list[str] = []

    async def active(self) -> str:
        return self.sealing

    async def key(self, id: str) -> bytes | None:
        self.asked.append(id)
        return self.keys.get(id)


async def test_a_provider_of_keys_is_asked_once() -> None:
    vault = Vault()
    codec = AesGcmCodec(provider=vault)
    await codec.prepare()
    assert codec.active == "k1" and codec.knows("k1")
    assert not await codec.fetch("k2") and not await codec.fetch("k2")
    assert vault.asked == ["k1", "k2"]
    vault.sealing = "k3"
    with pytest.raises(KeyMissing):
        await codec.prepare()


@pytest.mark.parametrize(
    ("subject", "kind"),
    [
        ("$KV.aiki-runs-eu.abc", "state"),
        ("$KV.aiki-runs-eu-west.abc.s0-3", "other"),
        ("$KV.aiki-workers-eu.w1", "plain"),
        ("$KV.aiki-schedules-eu.s", "plain"),
        ("$KV.aiki-actors-eu.a.b", "other"),
        ("$KV.aiki-anything-new.x", "other"),
        ("aiki.eu.mail.run.w.1.abc.start", "start"),
        ("aiki.eu.mail.run.w.1.abc.word", "other"),
        ("aiki.eu.mail.schedule.s", "schedule-mail"),
        ("aiki.eu.task.default.t.abc.1", "other"),
        ("aiki.eu.client.x", "other"),
        ("aiki.eu.withdrawn.abc", "plain"),
        ("elsewhere", "other"),
    ],
)
def test_what_is_not_known_is_sealed(subject: str, kind: str) -> None:
    assert kind_of(subject) == kind


def test_announcements_open_as_what_is_stored() -> None:
    assert context_of("aiki.eu-west.live.abc") == "$KV.aiki-runs-eu-west.abc" == context_of("$KV.aiki-runs-eu-west.abc")


def test_the_short_way_to_a_public_part_comes_to_the_same() -> None:
    state = new_run(Start("r", "w", "1", b'"secret"', b"hash", 1.0, "key", salt=bytes(16)), 2.0)
    state.published = [Published(1, 1.0, b'"secret"')]
    state.waits = [Wait(("paid",), 1.0)]
    state.result = b'"secret"'
    short = disclose("state", encode_state(state), "k1")
    assert b"secret" not in short
    assert peek_state(short) == public_state(state, "k1")
    state.error = ErrorInfo(type="ValueError", message="secret")
    assert b"secret" not in disclose("state", encode_state(state), "k1")

"""AES-256-GCM under keys that are derived, and changed long before their nonces could meet.

    body     24 random bytes | ciphertext and tag
    key      BLAKE2b-256 of the first 12 of them, keyed with the user's key
    nonce    the other 12

A nonce of 96 random bits bounds a key to some four thousand million messages. So no message is sealed with the user's key: each process
derives one of its own from 12 random bytes, and another after a million messages. There is no bound on the user's key that matters.
"""

import os
import time
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING

from aiki.codec.keys import KeyProvider, checked_id, checked_key
from aiki.types.errors import DefinitionError, KeyMissing, Tampered

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["AesGcmCodec"]

SALT, NONCE, TAG = 12, 12, 16
PERSON = b"aiki aes-gcm 1"
EPOCH = 1 << 20
"""Messages that are sealed with one derived key."""
MOST_DERIVED = 1024
"""Derived keys of others that are kept, for opening."""
ASK_AGAIN = 10.0
"""Seconds for which a key that the provider does not have is not asked for again."""


class AesGcmCodec:
    """Seals what Aiki stores and sends, for `Client.connect(codec=…)`.

    `keys`: 32 random bytes each, by id. The `active` one seals, all open: to rotate, add a key everywhere, then make it active, then
    drop the old one when nothing is left that it has sealed. With `active=None` nothing is sealed and everything is opened: the first step
    of switching encryption on without downtime. `provider`: where other keys come from, and the active one's id unless it is given.

    Raises `DefinitionError` for keys that are none, and when the `cryptography` package is missing (`pip install aiki[encryption]`).
    """

    def __init__(self, keys: Mapping[str, bytes] | None = None, active: str | None = None, *, provider: KeyProvider | None = None) -> None:
        self._aes, self._invalid = _aes()
        self._keys = {checked_id(id): checked_key(id, key) for id, key in (keys or {}).items()}
        self._provider = provider
        self._derived: OrderedDict[tuple[str, bytes], AESGCM] = OrderedDict()
        self._sealing: tuple[str, bytes, AESGCM] | None = None
        self._left = 0
        self._absent: dict[str, float] = {}
        self._active = active
        self._given = active is not None
        if active is not None and active not in self._keys and provider is None:
            there_are = ", ".join(map(repr, self._keys)) or "none"
            raise DefinitionError(f"the active key {active!r} is not among the keys: there are {there_are}", what="codec")
        if not self._keys and provider is None:
            raise DefinitionError("a codec needs keys, or a provider of keys", what="codec")

    def __repr__(self) -> str:
        return f"<AES-GCM with keys {sorted(self._keys)}, {self._active!r} seals>"

    @property
    def active(self) -> str | None:
        """The id of the key that seals."""
        return self._active

    def knows(self, key: str) -> bool:
        """Whether that key is here."""
        return key in self._keys

    def seal(self, plain: bytes, context: bytes, key: str) -> bytes:
        """See `Codec`."""
        sealing = self._sealing
        if sealing is None or self._left == 0 or sealing[0] != key:
            salt = os.urandom(SALT)
            sealing = self._sealing = (key, salt, self._cipher(key, salt))
            self._left = EPOCH
        self._left -= 1
        nonce = os.urandom(NONCE)
        return sealing[1] + nonce + sealing[2].encrypt(nonce, plain, context)

    def open(self, sealed: bytes, context: bytes, key: str) -> bytes:
        """See `Codec`."""
        if len(sealed) >= SALT + NONCE + TAG:
            try:
                return self._cipher(key, sealed[:SALT]).decrypt(sealed[SALT : SALT + NONCE], sealed[SALT + NONCE :], context)
            except self._invalid:
                pass
        raise Tampered(f"this was not sealed with our key {key!r} for this place: it was changed, moved, or the key is another", key=key)

    async def prepare(self) -> None:
        """Learn which key seals, and get it."""
        if self._provider is None:
            return
        active = self._active if self._given else await self._provider.active()
        if active is not None and not await self.fetch(active):
            raise KeyMissing(f"the provider has no key {active!r}, which is to seal", key=active)
        self._active = active

    async def fetch(self, key: str) -> bool:
        """Ask the provider for a key."""
        if key in self._keys:
            return True
        now = time.monotonic()
        if self._provider is None or self._absent.get(key, 0.0) > now:
            return False
        found = await self._provider.key(key)
        if found is None:
            self._absent[key] = now + ASK_AGAIN
            return False
        self._keys[checked_id(key)] = checked_key(key, found)
        return True

    def _cipher(self, key: str, salt: bytes) -> "AESGCM":
        if (known := self._derived.get((key, salt))) is not None:
            return known
        try:
            main = self._keys[key]
        except KeyError:
            raise KeyMissing(f"key {key!r} is not known here", key=key) from None
        made = self._derived[key, salt] = self._aes(blake2b(salt, key=main, digest_size=32, person=PERSON).digest())
        if len(self._derived) > MOST_DERIVED:
            self._derived.popitem(last=False)
        return made


def _aes() -> "tuple[type[AESGCM], type[Exception]]":
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise DefinitionError(
            "encryption needs the package `cryptography`: pip install 'aiki[encryption]', or aiki-sdk", what="codec"
        ) from error
    return AESGCM, InvalidTag

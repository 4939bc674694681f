"""The keys of webhook tokens: HMAC-SHA256, one key signs, all verify.

A token is `1.<key id>.<ticket>.<signature>`, the last two in URL-safe base64 without padding. The signature covers all that is before it.
"""

import binascii
import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Self

import msgspec

from aiki.types.errors import DefinitionError, WebhookInvalid
from aiki.webhooks.ticket import Ticket, decode_ticket, encode_ticket

__all__ = ["LEAST_SECRET", "Keyring"]

FORM = "1"
LEAST_SECRET = 16
"""Characters of a secret in `$AIKI_SECRET`."""
MOST_TOKEN = 4096


class Keyring(msgspec.Struct, frozen=True, array_like=True):
    """Keys by id. `active` is the one that signs."""

    active: str
    keys: dict[str, bytes]

    @classmethod
    def random(cls) -> Self:
        """One new key."""
        id = secrets.token_hex(4)
        return cls(id, {id: secrets.token_bytes(32)})

    @classmethod
    def from_secrets(cls, text: str) -> Self:
        """Secrets, separated by white space: the first one signs, all verify. `DefinitionError` for one that is too short."""
        keys = {}
        for secret in text.split():
            if len(secret) < LEAST_SECRET:
                raise DefinitionError(f"a secret in $AIKI_SECRET must have at least {LEAST_SECRET} characters", what="AIKI_SECRET")
            keys[hashlib.sha256(b"aiki webhook key id\0" + secret.encode()).hexdigest()[:8]] = secret.encode()
        if not keys:
            raise DefinitionError("$AIKI_SECRET is empty: unset it, or give it a secret", what="AIKI_SECRET")
        return cls(next(iter(keys)), keys)

    def rotated(self, *, forget: bool) -> Self:
        """With a new key that signs from now on. The others still verify, unless they are to be forgotten."""
        new = self.random()
        return new if forget else type(self)(new.active, {**self.keys, **new.keys})

    def sign(self, ticket: Ticket) -> str:
        """The token of a ticket."""
        signed = f"{FORM}.{self.active}.{_text(encode_ticket(ticket))}"
        return f"{signed}.{_text(self._signature(self.active, signed))}"

    def knows(self, token: str) -> bool:
        """Whether the key is here that has signed the token, if anything has."""
        return self._key_id(token) in self.keys

    def verify(self, token: str) -> Ticket:
        """The ticket that was signed. `WebhookInvalid` for anything that no key of ours has signed."""
        id = self._key_id(token)
        signed, _, signature = token.rpartition(".")
        if id not in self.keys or not hmac.compare_digest(_text(self._signature(id, signed)), signature):
            raise invalid()
        try:
            return decode_ticket(urlsafe_b64decode(_padded(signed.rpartition(".")[2])))
        except (binascii.Error, msgspec.DecodeError, ValueError):
            raise invalid() from None

    def _signature(self, id: str, signed: str) -> bytes:
        return hmac.new(self.keys[id], signed.encode(), hashlib.sha256).digest()

    @staticmethod
    def _key_id(token: str) -> str:
        parts = token.split(".") if len(token) <= MOST_TOKEN and token.isascii() else []
        return parts[1] if len(parts) == 4 and parts[0] == FORM else ""


def invalid() -> WebhookInvalid:
    """The same for whatever is wrong with a token: who guesses learns nothing."""
    return WebhookInvalid("this is no webhook of ours: its token is not signed by any of our keys")


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)

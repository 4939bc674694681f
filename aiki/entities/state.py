"""An entity actor's state as stored: the user's fields, and what the engine must not forget with them."""

import hashlib
import secrets

import msgspec

from aiki.types.failure import ErrorInfo
from aiki.types.sealed import checked

__all__ = [
    "Applied",
    "EntityState",
    "OutAlarm",
    "OutTell",
    "Reminder",
    "Status",
    "decode_entity",
    "encode_entity",
    "new_entity",
    "short_name",
]

Status = str
"""`active`, `held` or `stopped`."""

KEPT, KEPT_MOST = 64, 512
"""Calls that are remembered: at least so many of the newest, and at most, when they come fast."""
KEPT_LONG = 512
"""Of calls that something durable stands behind."""
KEPT_SECONDS = 10.0
"""For which a call is remembered, if that makes no more than `KEPT_MOST`."""
KEPT_BYTES = 128 * 1024
"""Of remembered answers."""


class _Part(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    pass


class Applied(_Part, frozen=True):
    """A call that has changed the state, and its answer. `mail`: it came by the mailbox and may come again while it is there."""

    name: str
    """The call's id in short, as its subject in the mailbox has it."""
    at: float
    value: bytes = b""
    keep: bool = False
    mail: bool = False


class OutTell(_Part, frozen=True, tag="tell"):
    """Owed: a message to another actor."""

    serial: int
    actor: str
    handler: str
    payload: bytes
    at: float


class OutAlarm(_Part, frozen=True, tag="alarm"):
    """Owed: the alarm of a reminder."""

    serial: int
    due: float


class Reminder(_Part, frozen=True):
    """Calls `handler` at `due`, then each `every` seconds."""

    serial: int
    due: float
    handler: str
    payload: bytes
    every: float | None = None


class EntityState(msgspec.Struct, array_like=True, omit_defaults=True, kw_only=True):
    """One actor. `born` names this life of it: a state that has expired begins anew."""

    actor: str
    born: str
    data: bytes
    status: Status = "active"
    host: str = ""
    """The subject of the host that wrote this: calls had better go there."""
    serial: int = 0
    changed_at: float = 0.0
    forgot_at: float = 0.0
    """When the newest call was applied that is not remembered any more."""
    applied: list[Applied] = []
    outbox: list[OutTell | OutAlarm] = []
    reminders: dict[str, Reminder] = {}
    error: ErrorInfo | None = None
    """Why it is held or stopped."""

    def draft(self) -> "EntityState":
        """A copy to work on."""
        return msgspec.structs.replace(self, applied=list(self.applied), outbox=list(self.outbox), reminders=dict(self.reminders))

    def recorded(self, call_id: str) -> Applied | None:
        """The call, if it was applied and is remembered."""
        name = short_name(call_id)
        return next((each for each in reversed(self.applied) if each.name == name), None)

    def next_serial(self) -> int:
        self.serial += 1
        return self.serial

    def call_id(self, serial: int) -> str:
        """The id of a message that this actor owes: the same whenever it is sent."""
        return f"{self.actor}/{self.born}/{serial}"

    def begin_again(self, data: bytes) -> None:
        """From the initial state; what was applied stays remembered."""
        self.data, self.status, self.error = data, "active", None
        self.reminders.clear()

    def crowded(self) -> bool:
        """Whether more is remembered by the mailbox than need be, should those messages be gone."""
        return sum(each.mail for each in self.applied) > 2 * KEPT

    def settle_mail(self, waiting: set[str]) -> None:
        """Only the calls in `waiting` can come by the mailbox again."""
        self.applied = [
            msgspec.structs.replace(each, mail=False) if each.mail and each.name not in waiting else each for each in self.applied
        ]

    def forget_old(self, now: float) -> None:
        """Drop what need not be remembered any more, the oldest first."""
        short = sum(not each.keep and not each.mail for each in self.applied)
        long = sum(each.keep and not each.mail for each in self.applied)
        size = sum(len(each.value) for each in self.applied)
        if short <= KEPT and long <= KEPT_LONG and size <= KEPT_BYTES:
            return
        left = []
        for each in self.applied:
            if each.mail:
                drop = False
            elif size > KEPT_BYTES and each.value:
                drop = True
            elif each.keep:
                drop = long > KEPT_LONG
            else:
                drop = short > KEPT_MOST or (short > KEPT and now - each.at > KEPT_SECONDS)
            if not drop:
                left.append(each)
                continue
            size -= len(each.value)
            self.forgot_at = max(self.forgot_at, each.at)
            if each.keep:
                long -= 1
            else:
                short -= 1
        self.applied = left


def short_name(call_id: str) -> str:
    """A call's id in short: a token of 18 characters."""
    return hashlib.blake2b(call_id.encode(), digest_size=9).hexdigest()


def new_entity(actor: str, data: bytes) -> EntityState:
    """An actor that nobody has called yet."""
    return EntityState(actor=actor, born=secrets.token_hex(6), data=data)


encode_entity = msgspec.msgpack.Encoder().encode
decode_entity = checked(msgspec.msgpack.Decoder(EntityState).decode)

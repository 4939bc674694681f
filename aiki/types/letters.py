"""Dead letters: what was given up, why, and what is needed to try it again.

The messages themselves are kept beside the letter, each as it was, so that a letter is small whatever they hold.
"""

from typing import Literal

import msgspec

__all__ = ["DeadLetter", "LetterKind", "decode_letter", "encode_letter"]

LetterKind = Literal["task", "run", "message"]


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that is not tried any more until somebody says so.

    `kind`: a call of a task or a run that has killed its workers, or a message that cannot be read. `code` is that of the error which
    `reason` tells. `deliveries`: how often its message was handed out. `workers`: those that have died with it in hand, as far as that is
    proven, from `first_at` to `last_at` (seconds since the epoch). `subject`: where its message came from.
    """

    id: str
    kind: LetterKind
    reason: str
    code: str
    deliveries: int
    first_at: float
    last_at: float
    subject: str
    run_id: str = ""
    workflow: str = ""
    version: str = ""
    task: str = ""
    workers: tuple[str, ...] = ()


encode_letter = msgspec.json.Encoder().encode
decode_letter = msgspec.json.Decoder(DeadLetter).decode

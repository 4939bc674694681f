"""Where plain text ends: everything above holds plain values, everything below stores and sends sealed ones."""

from aiki.sealing.holding import held_run, held_start
from aiki.sealing.inputs import SealedInput, carried_start
from aiki.sealing.sealer import Sealer
from aiki.sealing.transport import SealedTransport, sealed, seals

__all__ = ["SealedInput", "SealedTransport", "Sealer", "carried_start", "held_run", "held_start", "sealed", "seals"]

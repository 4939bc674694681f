"""Gates: fleet-wide limits, fairness and priorities of tasks."""

from aiki.gates.keeper import GateKeeper
from aiki.gates.machine import GateMachine
from aiki.gates.state import GateState, LimitState, Move, decode_gate, encode_gate

__all__ = ["GateKeeper", "GateMachine", "GateState", "LimitState", "Move", "decode_gate", "encode_gate"]

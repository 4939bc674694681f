"""For tests of workflows: an environment with virtual time, stubs, crashes, and replay of recorded runs.

Importing this package imports nothing else: pytest loads the plugin in it at each start.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiki.client import RunHistory
    from aiki.testing.crash import PlannedCrash
    from aiki.testing.environment import TestEnvironment
    from aiki.testing.injection import Injection, Moment
    from aiki.testing.stub import Call, Stub
    from aiki.testing.virtual import NothingWillHappen
    from aiki.workflow import Replayed, replay

__all__ = [
    "Call",
    "Injection",
    "Moment",
    "NothingWillHappen",
    "PlannedCrash",
    "Replayed",
    "RunHistory",
    "Stub",
    "TestEnvironment",
    "replay",
]

_LAZY = {
    "Call": "aiki.testing.stub",
    "Injection": "aiki.testing.injection",
    "Moment": "aiki.testing.injection",
    "NothingWillHappen": "aiki.testing.virtual",
    "PlannedCrash": "aiki.testing.crash",
    "Replayed": "aiki.workflow",
    "RunHistory": "aiki.client",
    "Stub": "aiki.testing.stub",
    "TestEnvironment": "aiki.testing.environment",
    "replay": "aiki.workflow",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)

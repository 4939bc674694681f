"""What stops workflow code from the inside. Derives from `BaseException`, so that `except Exception` in a workflow cannot swallow it."""

__all__ = ["RunEvicted", "Suspension"]


class Suspension(BaseException):
    """Root of what the engine throws into workflow code to stop it."""


class RunEvicted(Suspension):
    """The code belongs to an abandoned activation of its run: nothing it still does has any effect."""

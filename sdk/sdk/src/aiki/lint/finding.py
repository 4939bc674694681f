"""What was found, and where."""

from typing import NamedTuple

__all__ = ["Finding"]


class Finding(NamedTuple):
    """`line` and `column` count from 1. `workflow` names the workflow code by way of which the place is reached."""

    file: str
    line: int
    column: int
    rule: str
    what: str
    why: str
    instead: str
    workflow: str

    @property
    def message(self) -> str:
        """All of it but the place."""
        where = f" (in {self.workflow})" if self.workflow else ""
        return f"{self.what}: {self.why}; {self.instead}{where}"

    def annotation(self) -> str:
        """As a workflow command of GitHub Actions."""
        title = _escaped(f"aiki lint: {self.rule}").replace(":", "%3A").replace(",", "%2C")
        file = _escaped(self.file).replace(":", "%3A").replace(",", "%2C")
        return f"::error file={file},line={self.line},col={self.column},title={title}::{_escaped(self.message)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")

"""What the engine asks of a payload type."""

from typing import Any, Protocol, TypeVar

__all__ = ["Schema"]

Value = TypeVar("Value", covariant=True)


class Schema(Protocol[Value]):
    """Values of one type to JSON and back, validated both ways.

    `where` names the payload in errors ("input of task 'charge'"). All methods raise `PayloadError`, with the path of the offending field.
    """

    def encode(self, value: Any, where: str, *, large: bool = False) -> bytes:
        """Validate, and encode as JSON. `PayloadTooLarge` above the limit: `large` is for whoever puts a claim in its place."""

    def decode(self, data: bytes, where: str) -> Value:
        """Decode JSON and validate."""

    def json_schema(self) -> dict[str, Any]:
        """The type as a JSON Schema."""

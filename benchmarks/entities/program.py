"""The actor that is asked."""

from aiki.sdk import Actor, ActorContext, actor, handler

__all__ = ["Counter"]


@actor(name="counter")
class Counter(Actor):
    """Counts what it is asked to add."""

    value: int = 0

    @handler
    async def add(self, ctx: ActorContext, by: int) -> int:
        self.value += by
        return self.value

    @handler(read_only=True)
    async def read(self, ctx: ActorContext) -> int:
        return self.value

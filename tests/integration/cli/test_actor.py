"""`aiki actor`: real processes on a real server."""

from pathlib import Path

from aiki.transport import EmbeddedNats
from tests.integration.cli.command import Command

PROGRAM = """
from aiki.sdk import Actor, ActorContext, actor, handler

@actor(name="cart")
class Cart(Actor):
    items: list[str] = []

    @handler
    async def add(self, ctx: ActorContext, item: str) -> int:
        self.items.append(item)
        ctx.remind(Cart.add, "reminded", after=3600, name="later")
        return len(self.items)

    @handler
    async def fail(self, ctx: ActorContext) -> None:
        raise ValueError("no")
"""


def test_ask_tell_show_and_list(nats: EmbeddedNats, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(PROGRAM)
    aiki = Command(nats.url, cwd=tmp_path)
    aiki.environment["AIKI_REGION"] = "actor-cli"
    aiki.json("init")
    assert aiki("actor", "list").stdout == "no actors\n"
    assert aiki.failure("actor", "ask", "cart", "u1", "add", '"book"', "--timeout", "0.2").startswith("aiki: actor_timeout: ")
    with aiki.service("worker", "shop.py"):
        assert aiki.json("actor", "ask", "cart", "u2", "add", '"book"', "--key", "k") == 1
        assert aiki("actor", "ask", "cart", "u2", "add", '"book"', "--key", "k").stdout == "1\n"
        assert aiki.json("actor", "tell", "cart", "u2", "add", '"pen"') == {"actor": "cart", "id": "u2", "told": "add"}
        assert aiki("actor", "tell", "cart", "u2", "add", '"ink"').stdout == "told cart u2\n"
        assert aiki.json("actor", "ask", "cart", "u2", "add", '"cup"') == 4
        assert aiki.failure("actor", "ask", "cart", "u2", "add", "3").startswith("aiki: payload: ")
        assert aiki.failure("actor", "ask", "cart", "u2", "drop").startswith("aiki: unknown_handler: ")
        assert aiki.failure("actor", "ask", "cart", "u2", "fail").startswith("aiki: actor_failed: ")
    shown = aiki.json("actor", "show", "cart", "u2")
    assert (shown["status"], shown["fields"]) == ("active", {"items": ["book", "pen", "ink", "cup"]})
    assert [reminder["name"] for reminder in shown["reminders"]] == ["later"]
    assert "later" in aiki("actor", "show", "cart", "u2").stdout
    assert "u2" in {view["id"] for view in aiki.json("actor", "list", "cart")}
    assert '["book"' in aiki("actor", "list").stdout
    assert aiki.failure("actor", "show", "cart", "u9").startswith("aiki: actor_not_found: ")

"""`aiki actor`: ask, tell and look at entity actors."""

from typing import TYPE_CHECKING

import click

from aiki.cli.output import age, console, emit, instant, short, table
from aiki.cli.session import Session, command

if TYPE_CHECKING:
    from aiki.actor import ActorView

__all__ = ["actor"]


@click.group()
def actor() -> None:
    """Ask, tell and look at actors."""


@command("ask", actor)
@click.argument("type")
@click.argument("actor_id", metavar="ID")
@click.argument("handler")
@click.argument("payload", default="null", metavar="[JSON|-|@FILE]")
@click.option("--timeout", type=click.FloatRange(min=0.001), default=30.0, show_default=True, help="Seconds to wait for the answer.")
@click.option("--key", default=None, help="Names the call: one with the same key is applied once, and answered alike.")
async def ask(session: Session, type: str, actor_id: str, handler: str, payload: str, timeout: float, key: str | None) -> None:
    """Have the actor ID of TYPE run HANDLER with a JSON payload, and print the answer as JSON."""
    import msgspec

    from aiki.cli.payload import read_payload

    data = read_payload(payload)
    async with await session.connect() as client:
        answer = await client.caller.ask(_key(type, actor_id), handler, data, id=_id(key), timeout=timeout, keep=key is not None)
    emit(msgspec.Raw(answer))


@command("tell", actor)
@click.argument("type")
@click.argument("actor_id", metavar="ID")
@click.argument("handler")
@click.argument("payload", default="null", metavar="[JSON|-|@FILE]")
@click.option("--key", default=None, help="Names the message: one with the same key is applied once.")
async def tell(session: Session, type: str, actor_id: str, handler: str, payload: str, key: str | None) -> None:
    """Send the actor ID of TYPE a message for HANDLER. Returns when it is stored, whether or not a worker serves TYPE now."""
    from aiki.cli.payload import read_payload

    data = read_payload(payload)
    async with await session.connect() as client:
        await client.caller.tell(_key(type, actor_id), handler, data, id=_id(key), keep=key is not None)
    emit({"actor": type, "id": actor_id, "told": handler}) if session.as_json else click.echo(f"told {type} {actor_id}")


@command("show", actor)
@click.argument("type")
@click.argument("actor_id", metavar="ID")
async def show(session: Session, type: str, actor_id: str) -> None:
    """Show an actor's state as it is stored, and its reminders."""
    from aiki.actor.views import find

    async with await session.connect() as client:
        view = await find(client, type, actor_id)
    if session.as_json:
        emit(view)
        return
    lines = {
        "actor": f"{view.actor} {view.id}",
        "status": _status(view),
        "changed": f"{instant(view.changed_at)} ({age(view.changed_at)} ago)",
        **{name: short(value, 120) for name, value in view.fields.items()},
    }
    width = max(map(len, lines))
    out = console()
    for name, text in lines.items():
        out.print(f"{name:<{width}} {text}", markup=False, soft_wrap=True)
    if view.reminders:
        out.print()
        rows = [(each.name, each.handler, instant(each.due_at), f"{each.every:g} s" if each.every else "") for each in view.reminders]
        table(("reminder", "calls", "due", "every"), rows, empty="")


@command("list", actor)
@click.argument("type", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
async def list_actors(session: Session, type: str | None, limit: int) -> None:
    """List the actors (of TYPE) that have a state, by type and id."""
    from aiki.actor.views import every

    views: list[ActorView] = []
    async with await session.connect() as client:
        async for view in every(client, type):
            views.append(view)
            if len(views) == limit:
                break
    if session.as_json:
        emit(views)
        return
    rows = [(view.actor, view.id, _status(view), age(view.changed_at), short(view.fields)) for view in views]
    table(("actor", "id", "status", "changed", "state"), rows, empty="no actors")


def _key(type: str, actor_id: str) -> str:
    from aiki.types.names import check_name
    from aiki.types.subjects import Subjects

    return Subjects.actor_key(check_name(type, "actor"), check_name(actor_id, "actor's id"))


def _id(key: str | None) -> str | None:
    from aiki.types.names import check_key

    return None if key is None else f"{check_key(key)}/1"


def _status(view: "ActorView") -> str:
    return view.status if view.error is None else f"{view.status} ({view.error})"

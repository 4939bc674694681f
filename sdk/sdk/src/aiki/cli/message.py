"""`aiki run send`, `cancel`, `pause` and the like: what one can say to a run, or to many."""

from typing import TYPE_CHECKING, Any

import click

from aiki.cli.aim import Aim, aim_at_many, aim_at_one, find_id, split_words
from aiki.cli.output import emit
from aiki.cli.run import run
from aiki.cli.session import Session, command

if TYPE_CHECKING:
    from aiki.client import Client

__all__ = ["run"]

REASON = click.option("--reason", default="", help="Why; the run's history tells it.")
IDS = click.argument("ids", nargs=-1, metavar="[ID]...")


@command("send", run)
@click.argument("words", nargs=-1, required=True, metavar="[ID] EVENT [JSON|-|@FILE]")
@click.option("--idempotency-key", default=None, help="The event counts once per run under this key.")
@aim_at_many
async def send(session: Session, words: tuple[str, ...], idempotency_key: str | None, **aim: Any) -> None:
    """Send EVENT to a run, or with --all to many. Its payload is JSON (default `null`).

    It is refused when the workflow's workers declare their events and this is none of them; its type the run's code checks.
    """
    import msgspec

    from aiki.cli.payload import read_payload
    from aiki.client import event

    given = aim["everyone"] or aim["key"] is not None
    run_id, (name, *rest) = split_words(words, given, 1, 2, "ID EVENT [JSON]")
    payload = msgspec.json.decode(read_payload(rest[0] if rest else "null"))
    sent = event(name)

    def say(client: "Client", which: dict[str, Any]) -> Any:
        return client.send_many(sent, payload, idempotency_key=idempotency_key, **which)

    await Aim([run_id] if run_id is not None else [], **aim).tell(session, f"send {name!r} to", say)


@command("cancel", run)
@IDS
@REASON
@aim_at_many
async def cancel(session: Session, ids: tuple[str, ...], reason: str, **aim: Any) -> None:
    """Interrupt runs: their code may clean up, then they end as cancelled. Their queued tasks are withdrawn, their children cancelled."""
    await Aim(ids, **aim).tell(session, "cancel", lambda client, which: client.cancel_many(reason=reason, **which))


@command("terminate", run)
@IDS
@REASON
@aim_at_many
async def terminate(session: Session, ids: tuple[str, ...], reason: str, **aim: Any) -> None:
    """End runs without asking their code, which cannot clean up."""
    await Aim(ids, **aim).tell(session, "terminate", lambda client, which: client.terminate_many(reason=reason, **which))


@command("pause", run)
@IDS
@REASON
@aim_at_many
async def pause(session: Session, ids: tuple[str, ...], reason: str, **aim: Any) -> None:
    """Let the code of runs rest until `resume`; what comes meanwhile is recorded and waits."""
    await Aim(ids, **aim).tell(session, "pause", lambda client, which: client.pause_many(reason=reason, **which))


@command("resume", run)
@IDS
@aim_at_many
async def resume(session: Session, ids: tuple[str, ...], **aim: Any) -> None:
    """End the pause of runs. With --all, without a state, the paused ones are meant."""
    await Aim(ids, **aim).tell(session, "resume", lambda client, which: client.resume_many(**which))


@command("retry", run)
@IDS
@REASON
@aim_at_many
async def retry(session: Session, ids: tuple[str, ...], reason: str, **aim: Any) -> None:
    """Take runs up again that have ended without a result: completed steps are kept. With --all, without a state, the failed ones."""
    await Aim(ids, **aim).tell(session, "retry", lambda client, which: client.retry_many(reason=reason, **which))


@command("reset", run)
@IDS
@click.option("--to-step", required=True, help="The step (by name) that runs again, and all that follows.")
@click.option("--call", type=click.IntRange(1), default=1, show_default=True, help="Which call of the step.")
@REASON
@aim_at_many
async def reset(session: Session, ids: tuple[str, ...], to_step: str, call: int, reason: str, **aim: Any) -> None:
    """Take runs back to before a step ended; what was recorded before it is kept. With --all, without a state, the failed ones."""

    def say(client: "Client", which: dict[str, Any]) -> Any:
        return client.reset_many(to_step=to_step, call=call, reason=reason, **which)

    await Aim(ids, **aim).tell(session, "reset", say)


@command("fork", run)
@click.argument("words", nargs=-1, metavar="[ID]")
@click.option("--to-step", default=None, help="The journal up to before this step (by name) ended; without it, the whole journal.")
@click.option("--call", type=click.IntRange(1), default=1, show_default=True, help="Which call of the step.")
@click.option("--input", "payload", default=None, metavar="JSON|-|@FILE", help="Another input than the run's own.")
@click.option("--version", default=None, help="Another version of the workflow.")
@click.option("--idempotency-key", default=None, help="The same key finds the same fork.")
@aim_at_many
async def fork(
    session: Session,
    words: tuple[str, ...],
    to_step: str | None,
    call: int,
    payload: str | None,
    version: str | None,
    idempotency_key: str | None,
    **aim: Any,
) -> None:
    """Start a new run that begins with the journal of another one, with new code or a new input. With --all, one for each."""
    import msgspec

    from aiki.cli.payload import read_payload

    if aim["everyone"]:
        if payload is not None:
            raise click.UsageError("--input is for one run: its forks would all have the same")

        async def say(client: "Client", which: dict[str, Any]) -> Any:
            made = await client.fork_many(to_step=to_step, call=call, version=version, idempotency_key=idempotency_key, **which)
            return {id: fork if isinstance(fork, Exception) else f"forked as {fork.id}" for id, fork in made.items()}

        await Aim(words, **aim).tell(session, "fork", say)
        return
    key, workflow = aim["key"], aim["workflow"]
    run_id, _ = split_words(words, key is not None, 0, 0, "ID")
    given = {} if payload is None else {"payload": msgspec.json.decode(read_payload(payload))}
    async with await session.connect() as client:
        source = await client.handle(find_id(run_id, key, workflow))
        forked = await source.fork(to_step=to_step, call=call, version=version, idempotency_key=idempotency_key, **given)
    emit({"id": forked.id, "forked_from": source.id}) if session.as_json else click.echo(f"run {forked.id} was forked from {source.id}")


@command("cancel-task", run)
@click.argument("words", nargs=-1, required=True, metavar="[ID] TASK")
@REASON
@aim_at_one
async def cancel_task(session: Session, words: tuple[str, ...], reason: str, key: str | None, workflow: str | None) -> None:
    """Withdraw a run's outstanding calls of TASK (or of a step, or a sub-workflow): the code that waits for them gets `TaskCancelled`."""
    run_id, (name,) = split_words(words, key is not None, 1, 1, "ID TASK")
    chosen = find_id(run_id, key, workflow)
    async with await session.connect() as client:
        await (await client.handle(chosen)).cancel_task(name, reason)
    emit({"id": chosen, "done": "sent"}) if session.as_json else click.echo(f"run {chosen} was sent the message")


@command("query", run)
@click.argument("words", nargs=-1, required=True, metavar="[ID] QUERY [JSON|-|@FILE]")
@aim_at_one
async def query(session: Session, words: tuple[str, ...], key: str | None, workflow: str | None) -> None:
    """Ask a run's code for a view of its variables, and print the answer as JSON. Nothing is written."""
    run_id, name, payload = _question(words, key, "ID QUERY [JSON]")
    async with await session.connect() as client:
        emit(await (await client.handle(find_id(run_id, key, workflow))).query(name, payload))


@command("update", run)
@click.argument("words", nargs=-1, required=True, metavar="[ID] UPDATE [JSON|-|@FILE]")
@click.option("--idempotency-key", default=None, help="Calls with the same key are one update, with one answer.")
@click.option("--timeout", type=click.FloatRange(0.001), default=None, help="Seconds to wait for the answer.")
@aim_at_one
async def update(
    session: Session,
    words: tuple[str, ...],
    idempotency_key: str | None,
    timeout: float | None,
    key: str | None,
    workflow: str | None,
) -> None:
    """Send a run's code a message that it handles, durably and once, and print the answer as JSON."""
    run_id, name, payload = _question(words, key, "ID UPDATE [JSON]")
    async with await session.connect() as client:
        handle = await client.handle(find_id(run_id, key, workflow))
        emit(await handle.update(name, payload, idempotency_key=idempotency_key, timeout=timeout))


def _question(words: tuple[str, ...], key: str | None, usage: str) -> tuple[str | None, str, Any]:
    import msgspec

    from aiki.cli.payload import read_payload

    run_id, (name, *rest) = split_words(words, key is not None, 1, 2, usage)
    return run_id, name, msgspec.json.decode(read_payload(rest[0] if rest else "null"))

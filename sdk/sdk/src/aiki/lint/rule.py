"""The rules: what does not replay, why, and what to write instead."""

from typing import NamedTuple

__all__ = ["RULES", "Rule"]


class Rule(NamedTuple):
    """`id` stands in `# aiki: ignore[id]`."""

    id: str
    why: str
    instead: str


RULES = {
    rule.id: rule
    for rule in (
        Rule("clock", "a replay sees another time", "use ctx.now()"),
        Rule("sleep", "it stops every run of the worker, and is not durable", "use `await ctx.sleep(…)`"),
        Rule("random", "a replay draws something else", "use ctx.random(), ctx.rng or ctx.uuid()"),
        Rule("environment", "it may differ when and where the run is replayed", "pass it as payload, or read it in a task or ctx.step"),
        Rule("process", "it differs from process to process", "use something that the payload or a recorded step says"),
        Rule("files", "files are not replayed", "do it in a task or in ctx.step"),
        Rule("network", "what comes from the network is not replayed", "do it in a task or in ctx.step"),
        Rule("threads", "threads and processes are not replayed", "do it in a task"),
        Rule(
            "globals", "other runs share the process, and a replay finds what was left there", "pass values, and keep them in the workflow"
        ),
        Rule("unawaited", "it never happens", "write `await` in front of it, or make it an asyncio task"),
        Rule("set-order", "the order of a set is the process's own", "iterate over sorted(…), a list or a dict"),
        Rule("as-completed", "it starts coroutines in an order that is the process's own", "give it tasks (asyncio.create_task)"),
        Rule("syntax", "it cannot be read", "correct it"),
    )
}

"""A chain as a queue can do it: each job defers the next."""

# mypy: disable-error-code="import-not-found, untyped-decorator"

from procrastinate import App, PsycopgConnector

from benchmarks.steplog import StepLog

__all__ = ["QUEUE", "application"]

QUEUE = "bench"


def application(url: str, log: StepLog) -> App:
    """The application with its one task `inc`."""
    app = App(connector=PsycopgConnector(conninfo=url, max_size=20))

    @app.task(name="inc", queue=QUEUE)
    async def inc(label: str, number: int, value: int, steps: int) -> None:
        log.write("S", label, number)
        if number + 1 < steps:
            await inc.defer_async(label=label, number=number + 1, value=value + 1, steps=steps)

    return app

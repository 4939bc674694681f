"""What every command shares: the connection's options, one event loop, and errors as one line."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, TypeVar

import click

from aiki.types.errors import AikiError

if TYPE_CHECKING:
    from aiki.client import Client
    from aiki.codec import Codec

__all__ = ["Session", "command"]

Function = Callable[..., Coroutine[Any, Any, None]]
Made = TypeVar("Made", bound=Callable[..., Any])

DEFAULT_URL = "nats://127.0.0.1:4222"


class Session:
    """The options of one call: where to connect, and whether a person or a program reads the output."""

    def __init__(self, url: str, region: str, as_json: bool, codec_keys: str | None = None) -> None:
        self.url = url
        self.region = region
        self.as_json = as_json
        self._codec_keys = codec_keys

    async def connect(self) -> "Client":
        """A client; the caller closes it."""
        from aiki.client import Client

        return await Client.connect(self.url, region=self.region, codec=self.codec())

    def codec(self) -> "Codec | None":
        """What the file of keys makes, if one was given. `DefinitionError`."""
        if not self._codec_keys:
            return None
        from aiki.codec import read_key_file
        from aiki.codec.key_file import is_open_to_others

        codec = read_key_file(self._codec_keys)
        if is_open_to_others(self._codec_keys):
            click.echo(f"aiki: others may read {self._codec_keys}, which holds keys: chmod 600 it", err=True)
        return codec


def command(name: str, group: click.Group | None = None, *, connects: bool = True, **settings: Any) -> Callable[[Function], click.Command]:
    """Make an `async def` a command (of `group`) with the shared options: it is called with a `Session`, then its own options by name.

    `connects`: whether it takes the URL of a NATS server. An `AikiError` ends the process with status 1 and one line on standard error.
    """

    def decorate(function: Function) -> click.Command:
        def call(region: str, as_json: bool, debug: bool, url: str = DEFAULT_URL, codec_keys: str | None = None, **options: Any) -> None:
            session = Session(url, region, as_json, codec_keys)
            try:
                _run(lambda: function(session, **options))
            except AikiError as error:
                if debug:
                    raise
                click.echo(f"aiki: {error.code}: {' '.join(str(error).split())}", err=True)
                sys.exit(1)

        update_wrapper(call, function)
        make: Callable[[Callable[..., None]], click.Command] = click.command(name, **settings)
        made = make(_shared_options(call, connects))
        if group is not None:
            group.add_command(made)
        return made

    return decorate


def _shared_options(function: Made, connects: bool) -> Made:
    options = (
        click.option("--url", envvar="AIKI_URL", default=DEFAULT_URL, show_default=True, help="Where NATS is; $AIKI_URL."),
        click.option("--region", envvar="AIKI_REGION", default="default", show_default=True, help="The region; $AIKI_REGION."),
        click.option(
            "--codec-keys", envvar="AIKI_CODEC_KEYS", default=None, metavar="FILE", help="Keys to seal and open with; $AIKI_CODEC_KEYS."
        ),
        click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs."),
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
    )
    for option in reversed(options if connects else options[1:]):
        function = option(function)
    return function


def _run(function: Callable[[], Coroutine[Any, Any, None]]) -> None:
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if os.name != "nt":
        try:
            import uvloop

            factory = uvloop.new_event_loop
        except ImportError:
            pass
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(function())

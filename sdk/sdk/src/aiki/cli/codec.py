"""`aiki codec`: keys that seal payloads."""

import base64
import json

import click

from aiki.cli.output import emit
from aiki.cli.session import Session, command

__all__ = ["codec"]


@click.group()
def codec() -> None:
    """Make keys for encryption."""


@command("new-key", codec, connects=False)
@click.option("--id", "key_id", default="k1", show_default=True, help="What the key is to be called.")
async def new_key(session: Session, key_id: str) -> None:
    """Print a file with a fresh key, for --codec-keys: redirect it into a file that nobody else can read."""
    from aiki.codec import new_key
    from aiki.codec.keys import checked_id

    document = {"active": checked_id(key_id), "keys": {key_id: base64.b64encode(new_key()).decode()}}
    if session.as_json:
        emit(document)
    else:
        click.echo(json.dumps(document, indent=2))

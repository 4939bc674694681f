"""A private PostgreSQL server on a fresh cluster, with default settings: fsync is on."""

import os
import pwd
import shutil
import signal
from pathlib import Path
from types import TracebackType

from benchmarks.child import Child
from benchmarks.peers.home import MissingPeer
from benchmarks.port import free_ports

__all__ = ["Postgres", "binaries"]

VERSION = 15


def binaries() -> Path:
    """The folder of `initdb` and `postgres`: from the PATH, or where Debian puts them. Raises `MissingPeer`."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: folder.parent.name != str(VERSION))
    for folder in folders:
        if (folder / "postgres").exists():
            return folder
    raise MissingPeer(f"needs PostgreSQL's server binaries (initdb, postgres): on Debian, `apt-get install postgresql-{VERSION}`")


class Postgres:
    """An async context manager; `url` is valid inside, and the cluster is in the given folder, which the caller removes.

    PostgreSQL refuses to run as root: then it runs as its own user, or as nobody.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_ports(1)[0]
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    @property
    def pid(self) -> int:
        return self._server.pid

    async def __aenter__(self) -> "Postgres":
        commands, owner = binaries(), _owner()
        data = self._folder / "postgres"
        data.mkdir()
        if owner:
            self._folder.chmod(0o755)
            shutil.chown(data, owner)
        initdb: list[str | Path] = [commands / "initdb", "--pgdata", data, "--username", "postgres", "--auth", "trust"]
        await Child("initdb", initdb, self._folder, owner=owner).success()
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={data}"]
        self._server = Child("postgres", [commands / "postgres", "-D", data, "-p", str(self._port), *settings], self._folder, owner=owner)
        await self._server.until(lambda: _ready(data / "postmaster.pid"))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._server.stop(sign=signal.SIGINT)


def _ready(file: Path) -> bool:
    """Whether the server says in its lock file that it accepts connections."""
    return file.exists() and "ready" in file.read_text().split()


def _owner() -> str | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)

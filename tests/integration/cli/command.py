"""The `aiki` command as a user runs it: in processes of their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parents[3]
AIKI = (sys.executable, "-m", "aiki.cli")


class Command:
    """`aiki …` against one server."""

    def __init__(self, url: str, cwd: Path = ROOT) -> None:
        self.url = url
        self.cwd = cwd
        self.environment = {**os.environ, "AIKI_URL": url, "AIKI_REGION": "default"}

    def __call__(self, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run to the end."""
        return subprocess.run(
            (*AIKI, *arguments), cwd=self.cwd, env=self.environment, input=stdin, capture_output=True, text=True, timeout=30, check=False
        )

    def json(self, *arguments: str) -> Any:
        """Run with --json; it must succeed, and print one document."""
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return msgspec.json.decode(done.stdout)

    def failure(self, *arguments: str) -> str:
        """Run; it must fail with status 1, and one line on standard error, which is returned."""
        done = self(*arguments)
        assert done.returncode == 1, done.stdout + done.stderr
        lines = done.stderr.splitlines()
        assert len(lines) == 1, done.stderr
        return lines[0]

    def service(self, *arguments: str) -> "Service":
        """Start something that serves; returns when it has said that it does."""
        return Service(
            subprocess.Popen((*AIKI, *arguments, "--json"), cwd=self.cwd, env=self.environment, stdout=subprocess.PIPE, text=True)
        )


class Service:
    """`aiki dev` or `aiki worker`, with what it announced. Use it with `with`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stdout is not None
        self.announced: Any = msgspec.json.decode(process.stdout.readline() or "null")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=30)

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

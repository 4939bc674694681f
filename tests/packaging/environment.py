"""A virtual environment that holds nothing but what was installed into it."""

import os
import subprocess
import sys
import venv
from pathlib import Path

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


def call(command: list[str | Path], cwd: Path) -> str:
    """Run a command away from the tree, so that only installed code can be imported; its output, or an error that shows it."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}}
    done = subprocess.run(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


class Environment:
    """A virtual environment of its own, filled from a folder of wheels by the pip of this one."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        venv.create(folder, with_pip=False)
        self.folder = folder
        self.scripts = folder / ("Scripts" if sys.platform == "win32" else "bin")
        self.wheels = wheels

    @property
    def python(self) -> Path:
        return self.scripts / "python"

    def install(self, *requirements: str) -> None:
        """From the folder alone: a stranger's package of the same name on an index must not be taken for ours."""
        call([*PIP, "--python", str(self.python), "install", "--no-index", "--find-links", self.wheels, *requirements], self.folder)

    def run(self, *arguments: str | Path) -> str:
        """Run this environment's Python, isolated."""
        return call([self.python, "-I", *arguments], self.folder)

    def distributions(self) -> set[str]:
        """The names of what is installed."""
        names = "import importlib.metadata as m; print(*{d.name.lower().replace('_', '-') for d in m.distributions()})"
        return set(self.run("-c", names).split())

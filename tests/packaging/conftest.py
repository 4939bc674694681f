"""Wheels built from the tree, and those that they need."""

from pathlib import Path

import pytest

from tests.packaging.environment import PIP, call
from tests.packaging.workspace import MEMBERS, ROOT, pins, third_parties


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel of each member, built from the tree, and all that they require of others, at the locked versions."""
    folder = tmp_path_factory.mktemp("wheels")
    projects = [".", *(f"./{member.relative_to(ROOT)}" for member in MEMBERS)]
    call([*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, *projects], ROOT)
    constraints = tmp_path_factory.mktemp("pins") / "constraints.txt"
    constraints.write_text("\n".join(pins()))
    call([*PIP, "wheel", "--wheel-dir", folder, "-c", constraints, *map(str, third_parties())], folder)
    return folder

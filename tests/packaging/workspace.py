"""The members of the workspace, as their pyproject.toml files tell it."""

import re
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
MEMBERS = sorted(path.parent for path in [*ROOT.glob("sdk/*/pyproject.toml"), *ROOT.glob("services/*/pyproject.toml")])


def load(folder: Path) -> dict[str, Any]:
    """The pyproject.toml of a folder."""
    return tomllib.loads((folder / "pyproject.toml").read_text())


WORKSPACE = load(ROOT)
PROJECTS: dict[str, dict[str, Any]] = {document["project"]["name"]: document["project"] for document in map(load, [ROOT, *MEMBERS])}


def requirements(project: dict[str, Any]) -> list[Requirement]:
    """What a distribution requires, extras included."""
    extras = project.get("optional-dependencies", {}).values()
    return [Requirement(text) for text in [*project.get("dependencies", []), *(one for extra in extras for one in extra)]]


def third_parties() -> list[Requirement]:
    """What all members together require of others."""
    return [requirement for project in PROJECTS.values() for requirement in requirements(project) if requirement.name not in PROJECTS]


def pins() -> list[str]:
    """The lines of requirements.lock, markers included, hashes left out."""
    return re.findall(r"^(\S+==\S+(?: ; [^\\\n]*)?)", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)

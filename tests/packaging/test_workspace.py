"""The tree itself: what must hold for the members to build, install and be found by every tool."""

import re
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.packaging.workspace import MEMBERS, PROJECTS, ROOT, WORKSPACE, pins, requirements, third_parties

ROOTS = [ROOT, *(member / "src" for member in MEMBERS)]


def tracked() -> list[Path]:
    """Files that git would hand to others."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    if names.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in names.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_namespace_has_no_init() -> None:
    strays = [path for root in ROOTS for name in ("__init__.py", "__init__.pyi") if (path := root / "aiki" / name).exists()]
    strays += [path for root in ROOTS for path in [root / "aiki/services/__init__.py"] if path.exists()]
    assert not strays, f"a PEP 420 namespace ends where an __init__.py begins: {strays}"


def test_every_portion_is_typed() -> None:
    folders = [folder for root in ROOTS for folder in (root / "aiki").iterdir() if folder.is_dir() and folder.name != "__pycache__"]
    portions = [part for folder in folders for part in (folder.iterdir() if folder.name == "services" else [folder]) if part.is_dir()]
    assert len(portions) > 10
    assert not [str(part) for part in portions if not (part / "__init__.py").exists()], "a portion needs an __init__.py"
    assert not [str(part) for part in portions if not (part / "py.typed").exists()], "a portion needs a py.typed"


def test_no_portion_belongs_to_two_members() -> None:
    names = [path.name for root in ROOTS for path in (root / "aiki").iterdir() if path.name not in {"__pycache__", "services"}]
    assert len(names) == len(set(names))


def test_versions_go_in_lockstep() -> None:
    assert {project["version"] for project in PROJECTS.values()} == {PROJECTS["aiki"]["version"]}
    assert WORKSPACE["tool"]["towncrier"]["version"] == PROJECTS["aiki"]["version"]


def test_members_pin_each_other() -> None:
    version = PROJECTS["aiki"]["version"]
    for name, project in PROJECTS.items():
        for requirement in requirements(project):
            assert requirement.name not in PROJECTS or str(requirement.specifier) == f"=={version}", f"{name}: {requirement}"


def test_members_agree_on_what_they_say() -> None:
    runtime = PROJECTS["aiki"]
    for name, project in PROJECTS.items():
        assert project["requires-python"] == runtime["requires-python"], name
        assert project["license"] == runtime["license"], name
    for member in MEMBERS:
        assert (member / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes(), member
        assert (member / "README.md").exists(), member


def test_every_tool_knows_every_member() -> None:
    sources = {str(member.relative_to(ROOT) / "src") for member in MEMBERS}
    names = {name for name in PROJECTS if name != "aiki"}
    tool = WORKSPACE["tool"]
    assert set(WORKSPACE["dependency-groups"]["members"]) == names, "[dependency-groups] members"
    assert set(tool["uv"]["sources"]) == names | {"aiki"}, "[tool.uv.sources]"
    assert set(tool["hatch"]["build"]["dev-mode-dirs"]) == sources | {"."}, "[tool.hatch.build] dev-mode-dirs"
    assert set(tool["mypy"]["mypy_path"]) == {"$MYPY_CONFIG_FILE_DIR", *(f"$MYPY_CONFIG_FILE_DIR/{path}" for path in sources)}, (
        "[tool.mypy] mypy_path"
    )
    assert set(tool["basedpyright"]["extraPaths"]) == sources, "[tool.basedpyright] extraPaths"


def test_the_lock_pins_everything_by_hash() -> None:
    text = re.sub(r"^ *#.*\n", "", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)
    blocks = [block for block in re.split(r"^(?=\S)", text, flags=re.MULTILINE) if block]
    assert len(blocks) == len(pins()) > 30
    assert not [block for block in blocks if "--hash=sha256:" not in block]


def test_the_lock_covers_every_dependency() -> None:
    locked = {pin.split("==")[0] for pin in pins()}
    tools = [Requirement(text) for group in WORKSPACE["dependency-groups"].values() for text in group if isinstance(text, str)]
    assert not locked & set(PROJECTS)
    missing = {requirement.name for requirement in [*tools, *third_parties()]} - locked - set(PROJECTS)
    assert not missing, f"run `make lock`: {missing}"


def test_no_index_address_is_written_down() -> None:
    option = (
        r"(--(extra-)?index-url|--find-links|--trusted-host|^\s*(extra-)?index-url\s*=|\[\[tool\.uv\.index\]\]|//[^\s/]+/(simple|pypi)\b)"
    )
    this = Path(__file__).resolve().parent
    for path in tracked():
        if path.is_relative_to(this) or path.suffix in {".png", ".wasm", ".ico"}:
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            assert not re.search(option, line), f"{path.relative_to(ROOT)}:{number}: {line}"

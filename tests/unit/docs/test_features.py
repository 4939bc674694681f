"""The table of features names tests that exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TABLE = ROOT / "docs" / "reference" / "features.md"
TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def functions(path: Path) -> set[str]:
    """The test functions of a file, which is read and not run."""
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")}


def rows() -> list[tuple[str, str]]:
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("| ") and not line.startswith(("| feature |", "| --- |"))]
    return [(feature.strip(), tests) for _, feature, tests, _ in (line.split("|") for line in lines)]


def test_every_feature_names_tests_that_exist() -> None:
    table = rows()
    assert len(table) > 40
    for feature, tests in table:
        named = TEST.findall(tests)
        assert named, f"{feature}: no test is named"
        assert TEST.sub("", tests).strip() == "", f"{feature}: {tests} names something that is no test"
        for path, name in named:
            assert (ROOT / path).is_file(), f"{feature}: there is no file {path}"
            assert name in functions(ROOT / path), f"{feature}: {path} has no test {name}"


def test_no_feature_stands_twice() -> None:
    features = [feature for feature, _ in rows()]
    assert len(features) == len(set(features))

"""From paths to findings."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from aiki.lint.comments import ignored_rules
from aiki.lint.finding import Finding
from aiki.lint.module import Module
from aiki.lint.rule import RULES
from aiki.lint.walk import Walk

__all__ = ["lint_paths", "lint_source"]

SKIPPED = frozenset({"__pycache__", "build", "dist", "node_modules", "site-packages", "venv"})


def lint_paths(paths: Iterable[Path]) -> list[Finding]:
    """What is found in these files, and in the Python files of these folders (hidden and built ones left out)."""
    files = dict.fromkeys(file for path in paths for file in _files(path))
    return [finding for file in files for finding in lint_source(file.read_bytes(), str(file))]


def lint_source(source: str | bytes, file: str) -> list[Finding]:
    """What is found in the text of one file, in the order of its lines."""
    try:
        tree = ast.parse(source, file)
    except (SyntaxError, ValueError) as error:
        line, column = getattr(error, "lineno", None) or 1, getattr(error, "offset", None) or 1
        rule = RULES["syntax"]
        return [Finding(file, line, column, rule.id, str(getattr(error, "msg", error)), rule.why, rule.instead, "")]
    text = source if isinstance(source, str) else source.decode("utf-8", "replace")
    ignored = ignored_rules(text) if "aiki:" in text else {}
    found: dict[tuple[int, int, str], Finding] = {}
    for node, id, what, workflow in Walk(Module(tree)).everything():
        lines = {node.lineno, node.end_lineno or node.lineno}
        if any(line in ignored and (not ignored[line] or id in ignored[line]) for line in lines):
            continue
        rule = RULES[id]
        finding = Finding(file, node.lineno, node.col_offset + 1, id, what, rule.why, rule.instead, workflow)
        found.setdefault((finding.line, finding.column, id), finding)
    return [found[place] for place in sorted(found)]


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for entry in sorted(path.iterdir()):
        hidden = entry.name.startswith(".") or entry.name in SKIPPED
        if not hidden and (entry.is_dir() or entry.suffix == ".py"):
            yield from _files(entry)

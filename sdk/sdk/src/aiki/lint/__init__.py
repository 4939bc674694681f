"""Finds in workflow code what will not replay, by reading it: nothing of it is imported or run."""

from aiki.lint.files import lint_paths, lint_source
from aiki.lint.finding import Finding
from aiki.lint.rule import RULES, Rule

__all__ = ["RULES", "Finding", "Rule", "lint_paths", "lint_source"]

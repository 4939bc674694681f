"""`# aiki: ignore` and `# aiki: ignore[rule, rule]`."""

import io
import re
import tokenize

__all__ = ["ignored_rules"]

_COMMENT = re.compile(r"#\s*aiki:\s*ignore(?:\[([^\]]*)\])?")


def ignored_rules(source: str) -> dict[int, frozenset[str]]:
    """By line: the rules that are switched off there; an empty set: all of them."""
    ignored: dict[int, frozenset[str]] = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT and (found := _COMMENT.search(token.string)):
                names = (found[1] or "").replace(",", " ").split()
                ignored[token.start[0]] = frozenset(names)
    except (tokenize.TokenError, SyntaxError):
        pass  # the parser says what is wrong
    return ignored

"""Subject patterns: `*` stands for one token, `>` for one or more at the end."""

from typing import Generic, TypeVar

__all__ = ["SubjectTree", "matches", "overlap", "transform"]

Value = TypeVar("Value")


def matches(pattern: str, subject: str) -> bool:
    """Whether `subject` (without wildcards) is one that `pattern` stands for."""
    if pattern == subject or pattern == ">":
        return True
    if "*" not in pattern and ">" not in pattern:
        return False
    wanted, found = pattern.split("."), subject.split(".")
    for position, token in enumerate(wanted):
        if token == ">":
            return len(found) > position
        if position >= len(found) or token not in ("*", found[position]):
            return False
    return len(wanted) == len(found)


def overlap(one: str, other: str) -> bool:
    """Whether a subject exists that both patterns stand for."""
    first, second = one.split("."), other.split(".")
    for left, right in zip(first, second, strict=False):
        if left == ">" or right == ">":
            return True
        if left != right and left != "*" and right != "*":
            return False
    return len(first) == len(second)


def transform(source: str, destination: str, subject: str) -> str:
    """`subject`, which matches `source`, as a republish names it: `{{wildcard(n)}}` or `$n` is the n-th `*`, a last `>` the rest."""
    wild: list[str] = []
    rest = ""
    tokens = subject.split(".")
    for position, token in enumerate(source.split(".")):
        if token == "*":
            wild.append(tokens[position])
        elif token == ">":
            rest = ".".join(tokens[position:])
    result = []
    for token in destination.split("."):
        number = token[11:-3] if token.startswith("{{wildcard(") else token[1:] if token.startswith("$") else ""
        result.append(rest if token == ">" else wild[int(number) - 1] if number.isdigit() and int(number) <= len(wild) else token)
    return ".".join(result)


class _Node(Generic[Value]):
    __slots__ = ("children", "values")

    def __init__(self) -> None:
        self.children: dict[str, _Node[Value]] = {}
        self.values: list[Value] = []


class SubjectTree(Generic[Value]):
    """Patterns and what belongs to each, found by subject in time that does not grow with the number of patterns."""

    def __init__(self) -> None:
        self._root: _Node[Value] = _Node()

    def insert(self, pattern: str, value: Value) -> None:
        """Add `value` under `pattern`; both may be there already."""
        node = self._root
        for token in pattern.split("."):
            node = node.children.setdefault(token, _Node())
        node.values.append(value)

    def remove(self, pattern: str, value: Value) -> None:
        """Take one `value` away again; without it nothing happens."""
        path = [self._root]
        tokens = pattern.split(".")
        for token in tokens:
            child = path[-1].children.get(token)
            if child is None:
                return
            path.append(child)
        if value in path[-1].values:
            path[-1].values.remove(value)
        for parent, token in zip(reversed(path[:-1]), reversed(tokens), strict=True):
            child = parent.children[token]
            if child.values or child.children:
                return
            del parent.children[token]

    def find(self, subject: str) -> list[Value]:
        """The values of all patterns that stand for `subject`."""
        found: list[Value] = []
        nodes = [self._root]
        for token in subject.split("."):
            following = []
            for node in nodes:
                children = node.children
                if (child := children.get(token)) is not None:
                    following.append(child)
                if (child := children.get("*")) is not None:
                    following.append(child)
                if (child := children.get(">")) is not None:
                    found += child.values
            if not following:
                return found
            nodes = following
        for node in nodes:
            found += node.values
        return found

"""The table of idempotency names tests that exist, in every cell."""

from tests.unit.docs.test_features import ROOT, TEST, functions

PAGE = ROOT / "docs" / "guides" / "idempotency.md"
COLUMNS = 5


def test_every_cell_of_the_table_names_tests_that_exist() -> None:
    table = PAGE.read_text().split("## What a second call means")[1].split("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| ") and not line.startswith(("| | ", "| --- "))]
    assert [row[0].split(":")[0].strip() for row in rows] == [
        "runs",
        "tasks",
        "events",
        "sub-workflows",
        "updates",
        "schedules",
        "calls of actors",
    ]
    for row in rows:
        assert len(row) == 1 + COLUMNS
        for cell in row[1:]:
            named = TEST.findall(cell)
            assert named and TEST.sub("", cell).strip(), cell
            for path, name in named:
                assert name in functions(ROOT / path), f"{path} has no test {name}"

"""What is said when code and journal do not fit."""

from aiki.journal import Call, mismatch


def test_both_sides_stand_beside_each_other_without_inputs() -> None:
    error = mismatch(
        "the code does not fit",
        [Call(("charge:0123456789abcdef", 0), 3), Call(("a:b:fedcba9876543210", 1), 12)],
        [Call(("refund!00112233aabbccdd", 0))],
        ("recorded", "called"),
        "Advice.",
    )
    lines = str(error).splitlines()
    assert (lines[0], lines[-1]) == ("the code does not fit", "Advice.")
    assert [line.split("|")[0].strip() for line in lines[1:3]] == ["recorded", "--------"]
    assert len({line.index("|") for line in lines[1:5]}) == 1
    first, second = lines[3:5]
    assert first.split("  | ") == ["  entry 3: charge #1 (input 01234567…)", "refund #1 (key 00112233…)"]
    assert second.split() == ["entry", "12:", "a:b", "#2", "(input", "fedcba98…)", "|"]
    assert error.recorded == ["charge (charge:0123456789abcdef, call 1)", "a:b (a:b:fedcba9876543210, call 2)"]
    assert error.issued == ["refund (refund!00112233aabbccdd, call 1)"]


def test_of_many_the_first_are_shown() -> None:
    error = mismatch("x", [Call((f"step-{number}:aa", 0), number) for number in range(1, 31)], [], ("left", "right"), "y")
    assert "… and 20 more" in str(error)
    assert "(none)" in str(error)
    assert len(error.recorded) == 30

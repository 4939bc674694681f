"""The gate's rules, whatever comes in whatever order."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from aiki.gates import GateMachine, Move
from aiki.types.admission import Admission, Concurrency, Rate, place_of

LIMITS = (Concurrency(3), Concurrency(1, key=lambda each: each[0]), Rate(4, per=10), Rate(2, per=5, key=lambda each: each[0]))
PER = {2: 10.0, 3: 5.0}


def place(customer: str, age: float = 0.0, priority: int = 0, limits: tuple[Concurrency | Rate, ...] = LIMITS) -> str:
    admission = Admission(limits, None, priority, "task 't'")
    return place_of(admission.standing((customer,)), age)


customers = st.sampled_from("abc")
actions = st.lists(
    st.one_of(
        st.tuples(st.just("hear"), customers, st.integers(0, 30)),
        st.tuples(st.just("admit"), st.none(), st.integers(1, 4)),
        st.tuples(st.just("release"), st.none(), st.integers(0, 30)),
        st.tuples(st.just("gone"), st.none(), st.integers(0, 30)),
        st.tuples(st.just("pass"), st.none(), st.integers(1, 8)),
        st.tuples(st.just("forget"), st.none(), st.integers(0, 1)),
    ),
    max_size=120,
)


@settings(max_examples=300, deadline=None)
@given(actions)
def test_no_limit_is_ever_broken_and_all_come_in_at_last(plan: list[tuple[str, str | None, int]]) -> None:
    taken: dict[str, list[tuple[float, int]]] = {}
    machine = GateMachine(LIMITS, taken)
    now = 100.0
    waiting: dict[str, str] = {}
    inside: dict[str, str] = {}
    seen: set[str] = set()
    history: list[tuple[float, str]] = []

    def check(move: Move) -> None:
        customer = move.place.split(".")[1].split("~")[0]
        assert waiting.pop(move.id) == move.place
        inside[move.id] = customer
        history.append((now, customer))
        assert len(inside) <= 3
        assert Counter(inside.values())[customer] == 1
        assert sum(at > now - PER[2] for at, _ in history) <= 4
        assert sum(at > now - PER[3] for at, of in history if of == customer) <= 2

    for action, customer, number in plan:
        id = f"run{number}.1"
        match action:
            case "hear":
                assert customer is not None
                if id not in seen:
                    seen.add(id)
                    waiting[id] = place(customer, number)
                    machine.hear(waiting[id], id)
                elif id in waiting:
                    machine.hear(waiting[id], id)
            case "admit":
                for _ in range(number):
                    if (move := machine.admit(now)) is not None:
                        check(move)
            case "release":
                machine.release(id)
                inside.pop(id, None)
            case "gone":
                machine.gone(id)
                waiting.pop(id, None)
            case "pass":
                now += number / 2
            case "forget":  # another keeper takes over, and reads what there is
                machine = GateMachine(LIMITS, taken)
                for each, customer in inside.items():
                    machine.enter(place(customer), each)
                for each, at in reversed(list(waiting.items())):
                    machine.hear(at, each)
        assert machine.waiting == len(waiting)
        assert set(machine.inside) == set(inside)
    for _ in range(500):
        if not waiting:
            break
        for each in list(inside):
            machine.release(each)
            del inside[each]
        while (move := machine.admit(now)) is not None:
            check(move)
            machine.release(move.id)
            del inside[move.id]
        now += 1.0
    assert not waiting
    assert all(len(entries) <= 200 for entries in taken.values())


def test_turns_are_taken_between_keys_and_the_oldest_is_first() -> None:
    machine = GateMachine((), {})
    for number in range(100):
        machine.hear(place_of("0.crowd", number), f"crowd{number}.1")
    machine.hear(place_of("0.late", 1000), "late.1")
    machine.hear(place_of("5.high", 2000), "high.1")
    order = [move.id for _ in range(5) if (move := machine.admit(0.0)) is not None]
    assert order == ["high.1", "crowd0.1", "late.1", "crowd1.1", "crowd2.1"]


def test_a_hundred_thousand_groups_that_are_held_back_are_looked_at_once() -> None:
    limits = (Concurrency(1, key=lambda each: each[0]),)
    machine = GateMachine(limits, {})
    for number in range(20_000):
        for copy in range(2):
            machine.hear(place_of(f"0.k{number}~k{number}", copy), f"r{number}x{copy}.1")
    first = [machine.admit(0.0) for _ in range(20_000)]
    assert None not in first
    assert machine.admit(0.0) is None
    for move in first:
        assert move is not None
        machine.release(move.id)
        following = machine.admit(0.0)
        assert following is not None
        assert following.place.split(".")[1] == move.place.split(".")[1]


def test_a_rate_says_when_it_opens() -> None:
    limits = (Rate(2, per=10, key=lambda each: each[0]),)
    machine = GateMachine(limits, {})
    for number in range(3):
        machine.hear(place_of("0.a~a", number), f"r{number}.1")
    assert machine.admit(100.0) is not None
    assert machine.admit(103.0) is not None
    assert machine.admit(104.0) is None
    assert machine.next_instant == 110.0
    assert machine.admit(109.9) is None
    assert machine.admit(110.0) is not None


def test_callers_that_know_fewer_limits_are_held_together() -> None:
    machine = GateMachine((Concurrency(5), Concurrency(1, key=lambda each: each)), {})
    machine.hear(place_of("0.=", 1), "r1.1")
    machine.hear(place_of("0.=", 2), "r2.1")
    assert machine.admit(0.0) is not None
    assert machine.admit(0.0) is None
    machine.release("r1.1")
    assert machine.admit(0.0) is not None

"""What an actor remembers of the calls it has applied: bounded, and never too little to count a message once."""

from aiki.entities import state
from aiki.entities.state import Applied, EntityState, decode_entity, encode_entity, new_entity


def remembering(*applied: Applied) -> EntityState:
    made = new_entity("cart.1", b"{}")
    made.applied = list(applied)
    return made


def names(entity: EntityState) -> list[str]:
    return [each.name for each in entity.applied]


def test_the_newest_are_kept_and_those_of_the_last_seconds() -> None:
    entity = remembering(*(Applied(str(number), float(number)) for number in range(100)))
    entity.forget_old(now=100.0)
    assert names(entity) == [str(number) for number in range(36, 100)]
    assert entity.forgot_at == 35.0
    entity = remembering(*(Applied(str(number), 99.0) for number in range(600)))
    entity.forget_old(now=100.0)
    assert len(entity.applied) == state.KEPT_MOST


def test_what_can_come_again_by_the_mailbox_is_kept() -> None:
    entity = remembering(*(Applied(str(number), 0.0, mail=True) for number in range(200)))
    assert entity.crowded()
    entity.forget_old(now=1000.0)
    assert len(entity.applied) == 200
    entity.settle_mail(waiting={"3", "150"})
    entity.forget_old(now=1000.0)
    assert len(entity.applied) == state.KEPT + 2
    assert {"3", "150"} < set(names(entity))


def test_calls_with_something_durable_behind_are_kept_longer() -> None:
    entity = remembering(*(Applied(str(number), 0.0, keep=number % 2 == 0) for number in range(1000)))
    entity.forget_old(now=1000.0)
    assert sum(each.keep for each in entity.applied) == 500
    assert len(entity.applied) == 500 + state.KEPT


def test_large_answers_do_not_fill_the_state() -> None:
    entity = remembering(*(Applied(str(number), float(number), b"x" * 40_000, keep=True) for number in range(10)))
    entity.forget_old(now=10.0)
    assert names(entity) == ["7", "8", "9"]


def test_a_state_survives_the_wire() -> None:
    entity = remembering(Applied("a", 1.0, b"2", True, True))
    assert decode_entity(encode_entity(entity)) == entity
    draft = entity.draft()
    draft.applied.append(Applied("b", 2.0))
    assert names(entity) == ["a"]

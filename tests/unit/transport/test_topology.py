"""Stream and consumer settings."""

from hypothesis import given
from hypothesis import strategies as st

from aiki.transport import ConsumerSpec, StreamSpec
from aiki.transport.topology import consumer_config, differences, stream_config, stream_spec

seconds = st.integers(1, 10**6).map(lambda milliseconds: milliseconds / 1000)
specs = st.builds(
    StreamSpec,
    name=st.just("S"),
    subjects=st.just(("a.>", "b")),
    retention=st.sampled_from(["limits", "workqueue"]),
    history=st.none() | st.integers(1, 64),
    discard=st.sampled_from(["old", "new"]),
    dedupe_window=seconds,
    allow_direct=st.booleans(),
    allow_ttl=st.booleans(),
    allow_rollup=st.just(True),
    allow_schedules=st.booleans(),
    republish=st.none() | st.just(("a.>", "live.>", True)),
    storage=st.sampled_from(["file", "memory"]),
    replicas=st.sampled_from([1, 3]),
    placement_tags=st.sampled_from([(), ("eu",)]),
    marker_ttl=st.none() | seconds,
)


@given(specs)
def test_a_spec_survives_its_configuration(spec: StreamSpec) -> None:
    config = stream_config(spec)
    assert stream_spec(config) == spec
    assert differences({**config, "max_bytes": -1, "metadata": {}}, config) == {}


@given(specs, specs)
def test_differences_are_symmetric_and_complete(one: StreamSpec, other: StreamSpec) -> None:
    forth = differences(stream_config(one), stream_config(other))
    back = differences(stream_config(other), stream_config(one))
    assert forth.keys() == back.keys()
    assert bool(forth) == (one != other)


def test_what_the_server_leaves_out_is_its_default() -> None:
    config = stream_config(StreamSpec(name="S", subjects=("a",)))
    sparse = {name: value for name, value in config.items() if value not in (False, 0)}
    assert differences(sparse, config) == {}


def test_the_order_of_subjects_does_not_matter() -> None:
    one = stream_config(StreamSpec(name="S", subjects=("a", "b")))
    other = stream_config(StreamSpec(name="S", subjects=("b", "a")))
    assert differences(one, other) == {}


def test_consumers() -> None:
    config = consumer_config(ConsumerSpec(stream="S", durable="c", filter="a.>", ack_wait=1.5))
    assert config["ack_wait"] == 1_500_000_000
    assert differences(config, consumer_config(ConsumerSpec(stream="S", durable="c", filter="b"))).keys() == {"filter_subject", "ack_wait"}

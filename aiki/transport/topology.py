"""`StreamSpec` and `ConsumerSpec` as JetStream's configurations, and the differences between two of them."""

from typing import Any

from aiki.transport.port import ConsumerSpec, StreamSpec

__all__ = ["MAX_WAITING", "consumer_config", "differences", "stream_config", "stream_spec"]

Config = dict[str, Any]

MAX_WAITING = 4096
"""Pulls that may wait at a consumer. The server's default of 512 would be the largest fleet, and it cannot be changed later."""


def stream_config(spec: StreamSpec) -> Config:
    """The configuration that `spec` asks for; settings it does not name are left to the server."""
    config: Config = {
        "name": spec.name,
        "subjects": list(spec.subjects),
        "retention": spec.retention,
        "max_msgs_per_subject": -1 if spec.history is None else spec.history,
        "discard": spec.discard,
        "duplicate_window": _nanoseconds(spec.dedupe_window),
        "allow_direct": spec.allow_direct,
        "allow_msg_ttl": spec.allow_ttl,
        "allow_msg_schedules": spec.allow_schedules,
        # The server switches roll-ups on with schedules and with markers.
        "allow_rollup_hdrs": spec.allow_rollup or spec.allow_schedules or spec.marker_ttl is not None,
        "storage": spec.storage,
        "num_replicas": spec.replicas,
        "subject_delete_marker_ttl": _nanoseconds(spec.marker_ttl or 0),
    }
    if spec.republish is not None:
        source, destination, headers_only = spec.republish
        config["republish"] = {"src": source, "dest": destination, "headers_only": headers_only}
    if spec.placement_tags:
        config["placement"] = {"tags": list(spec.placement_tags)}
    return config


def stream_spec(config: Config) -> StreamSpec:
    """What a configuration says, as far as a `StreamSpec` can say it. `interest` retention reads as `limits`."""
    history = config.get("max_msgs_per_subject", -1)
    republish = config.get("republish")
    marker = config.get("subject_delete_marker_ttl", 0)
    return StreamSpec(
        name=config["name"],
        subjects=tuple(config.get("subjects") or ()),
        retention="workqueue" if config.get("retention") == "workqueue" else "limits",
        history=history if history > 0 else None,
        discard=config.get("discard", "old"),
        dedupe_window=config.get("duplicate_window", 0) / 1e9,
        allow_direct=config.get("allow_direct", False),
        allow_ttl=config.get("allow_msg_ttl", False),
        allow_schedules=config.get("allow_msg_schedules", False),
        allow_rollup=config.get("allow_rollup_hdrs", False),
        republish=(republish.get("src") or ">", republish["dest"], republish.get("headers_only", False)) if republish else None,
        storage=config.get("storage", "file"),
        replicas=config.get("num_replicas", 1),
        placement_tags=tuple((config.get("placement") or {}).get("tags") or ()),
        marker_ttl=marker / 1e9 if marker else None,
    )


def consumer_config(spec: ConsumerSpec) -> Config:
    """The configuration that `spec` asks for."""
    return {
        "durable_name": spec.durable,
        "ack_policy": "explicit",
        "deliver_policy": "all",
        "filter_subject": spec.filter,
        "ack_wait": _nanoseconds(spec.ack_wait),
        "max_deliver": spec.max_deliver,
        "max_ack_pending": spec.max_ack_pending,
    }


def differences(found: Config, wanted: Config) -> dict[str, tuple[Any, Any]]:
    """{setting: (found, wanted)} for the settings in `wanted` that `found` has otherwise."""
    different = {}
    for name, value in wanted.items():
        present = found.get(name)
        if name == "republish" and present is not None:
            present = {"headers_only": False, **present}
        if name == "placement" and present is not None:
            present = {"tags": present.get("tags") or []}
        if name == "subjects":
            if sorted(present or []) != sorted(value):
                different[name] = (present, value)
        elif present != value and not (present is None and value in (0, False, "")):
            different[name] = (present, value)
    for name in ("republish", "placement"):
        if name not in wanted and found.get(name):
            different[name] = (found[name], None)
    return different


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)

"""Streams and consumers as things to create, compare and look through, by JetStream's API."""

import math
from typing import Any, Literal

from aiki.transport.api import NO_CONSUMER, NO_STREAM, Api, ConsumerAnswer, ConsumersAnswer, Problem, PurgeAnswer, StreamAnswer
from aiki.transport.instant import format_instant, parse_instant
from aiki.transport.port import ConsumerInfo, ConsumerSpec, StreamSpec
from aiki.transport.topology import MAX_WAITING, consumer_config, differences, stream_config
from aiki.types.errors import StreamMissing, TopologyMismatch

__all__ = ["Catalogue"]

NAME_IN_USE = 10058
FURTHER_NOTICE = 7_258_118_400.0
"""The year 2200, in which whoever was paused until further notice goes on."""


class Catalogue:
    """See the methods of the same names in `aiki.transport.port.Transport`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def config(self, name: str) -> dict[str, Any] | None:
        """A stream's configuration; None when it does not exist."""
        answer = await self._api.call(f"STREAM.INFO.{name}", None, StreamAnswer)
        if answer.error is None:
            return answer.config
        if answer.error.err_code == NO_STREAM:
            return None
        raise self._api.failure(answer.error, f"stream {name}", name)

    async def ensure_stream(self, spec: StreamSpec, *, update: bool = False) -> Literal["created", "unchanged", "updated"]:
        wanted = stream_config(spec)
        found = await self.config(spec.name)
        if found is None:
            answer = await self._api.call(f"STREAM.CREATE.{spec.name}", wanted, StreamAnswer)
            if answer.error is None:
                return "created"
            # Somebody else may have been first.
            found = await self.config(spec.name) if answer.error.err_code == NAME_IN_USE else None
            if found is None:
                raise self._api.failure(answer.error, f"creating stream {spec.name}", spec.name)
        different = differences(found, wanted)
        if not different:
            return "unchanged"
        if not update:
            raise _mismatch("stream", spec.name, different, "update it (`aiki init --update`) or choose another name")
        merged = {name: value for name, value in {**found, **wanted}.items() if name in wanted or name not in ("republish", "placement")}
        answer = await self._api.call(f"STREAM.UPDATE.{spec.name}", merged, StreamAnswer)
        if answer.error is not None:
            raise _mismatch("stream", spec.name, different, f"the server refuses the change: {answer.error.description}")
        return "updated"

    async def ensure_consumer(self, spec: ConsumerSpec) -> Literal["created", "unchanged", "updated"]:
        wanted = consumer_config(spec)
        answer = await self._api.call(f"CONSUMER.INFO.{spec.stream}.{spec.durable}", None, ConsumerAnswer)
        exists = answer.error is None
        if answer.error is not None and answer.error.err_code != NO_CONSUMER:
            raise self._api.failure(answer.error, f"consumer {spec.durable}", spec.stream)
        different = differences(answer.config, wanted) if exists else {}
        if exists and not different:
            return "unchanged"
        body = {"stream_name": spec.stream, "config": {"max_waiting": MAX_WAITING, **answer.config, **wanted}}
        made = await self._api.call(f"CONSUMER.CREATE.{spec.stream}.{spec.durable}.{spec.filter}", body, ConsumerAnswer)
        if made.error is None:
            return "updated" if exists else "created"
        if made.error.err_code == NO_STREAM:
            raise self._api.failure(made.error, f"consumer {spec.durable}", spec.stream)
        name = f"{spec.stream}/{spec.durable}"
        raise _mismatch("consumer", name, different, f"the server refuses it: {made.error.description}")

    async def consumers(self, stream: str) -> list[ConsumerInfo]:
        found: dict[str, ConsumerInfo] = {}
        offset = 0
        while True:
            answer = await self._api.demand(f"CONSUMER.LIST.{stream}", {"offset": offset}, ConsumersAnswer, stream)
            for each in answer.consumers:
                durable = each.config.get("durable_name", "")
                cap = bound if (bound := each.config.get("max_ack_pending", -1)) > 0 else None
                paused_until = _paused_until(each) if each.paused else None
                info = ConsumerInfo(
                    durable, each.config.get("filter_subject", ""), each.num_pending, each.num_ack_pending, paused_until, cap
                )
                found[durable] = info
            offset += len(answer.consumers)
            if not answer.consumers or offset >= answer.total:
                return [found[durable] for durable in sorted(found) if durable]

    async def pause_consumer(self, stream: str, durable: str, until: float | None) -> None:
        subject = f"CONSUMER.PAUSE.{stream}.{durable}"
        answer = await self._api.call(
            subject, {} if until is None else {"pause_until": format_instant(min(until, FURTHER_NOTICE))}, Problem
        )
        if answer.error is not None:
            if answer.error.err_code == NO_CONSUMER:
                raise StreamMissing(f"the stream {stream} has no consumer {durable}", stream=stream, consumer=durable)
            raise self._api.failure(answer.error, subject, stream)

    async def backlog(self, stream: str, durable: str) -> tuple[int, int]:
        subject = f"CONSUMER.INFO.{stream}.{durable}"
        answer = await self._api.call(subject, None, ConsumerAnswer)
        if answer.error is not None:
            if answer.error.err_code == NO_CONSUMER:
                raise StreamMissing(f"the stream {stream} has no consumer {durable}", stream=stream, consumer=durable)
            raise self._api.failure(answer.error, subject, stream)
        return answer.num_pending, answer.num_ack_pending

    async def pullers(self, stream: str, durable: str) -> int:
        answer = await self._api.call(f"CONSUMER.INFO.{stream}.{durable}", None, ConsumerAnswer)
        if answer.error is not None and answer.error.err_code != NO_CONSUMER:
            raise self._api.failure(answer.error, f"CONSUMER.INFO.{stream}.{durable}", stream)
        return answer.num_waiting

    async def subjects(self, stream: str, pattern: str) -> list[str]:
        found: set[str] = set()
        offset = 0
        while True:
            answer = await self._api.demand(f"STREAM.INFO.{stream}", {"subjects_filter": pattern, "offset": offset}, StreamAnswer, stream)
            page = answer.state.subjects
            found.update(page)
            offset += len(page)
            if not page or offset >= answer.total:
                return sorted(found)

    async def purge(self, stream: str, pattern: str) -> int:
        return (await self._api.demand(f"STREAM.PURGE.{stream}", {"filter": pattern}, PurgeAnswer, stream)).purged


def _paused_until(consumer: ConsumerAnswer) -> float:
    until = parse_instant(consumer.config["pause_until"])
    return until if until < FURTHER_NOTICE else math.inf


def _mismatch(kind: str, name: str, different: dict[str, tuple[Any, Any]], advice: str) -> TopologyMismatch:
    settings = ", ".join(f"{setting} is {found!r}, not {wanted!r}" for setting, (found, wanted) in different.items())
    return TopologyMismatch(f"{kind} {name} has other settings ({settings}): {advice}", name=name, differences=different)

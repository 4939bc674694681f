"""Counters through the OpenTelemetry API, which is imported only once the application has imported it."""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter

__all__ = ["count_cache"]

_CACHE: dict[str, tuple[str, str]] = {
    "hit": ("aiki.cache.hits", "Calls of a task that a cached result has answered"),
    "miss": ("aiki.cache.misses", "Calls of a cached task for which there was no result"),
    "store": ("aiki.cache.stores", "Results that were put into the cache"),
    "invalidation": ("aiki.cache.invalidations", "Results that were taken out of the cache by request"),
}
_counters: "dict[tuple[Any, str], Counter]" = {}


def count_cache(what: str, task: str, number: int = 1) -> None:
    """Something has happened to the cache of a task: "hit", "miss", "store" or "invalidation"."""
    metrics = sys.modules.get("opentelemetry.metrics")
    if metrics is None:
        return
    provider = metrics.get_meter_provider()
    counter = _counters.get((provider, what))
    if counter is None:
        name, description = _CACHE[what]
        counter = _counters[provider, what] = provider.get_meter("aiki").create_counter(name, unit="1", description=description)
    counter.add(number, {"aiki.task": task})

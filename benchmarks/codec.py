"""The codec of a benchmark: its key need not be secret."""

from aiki.sdk import AesGcmCodec

__all__ = ["bench_codec"]


def bench_codec(wanted: bool) -> AesGcmCodec | None:
    """The same in each process of a benchmark, or none."""
    return AesGcmCodec(keys={"bench": bytes(range(32))}, active="bench") if wanted else None

"""The region that benchmarks live in."""

__all__ = ["REGION"]

REGION = "bench"

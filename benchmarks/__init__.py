"""Benchmarks: the same workloads on Aiki and on other durable engines, `python -m benchmarks W1`."""

"""The workloads: one per file, the same for every engine."""

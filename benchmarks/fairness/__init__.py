"""The benchmark of fairness: one tenant's queue, and another tenant's single task."""

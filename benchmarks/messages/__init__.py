"""The benchmark of messages to runs: events, sub-workflows, cancellation, queries and updates."""

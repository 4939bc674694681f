"""Identifiers, states, retry strategies, errors and wire messages: what every other part speaks in."""

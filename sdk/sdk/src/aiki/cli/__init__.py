"""The `aiki` command."""

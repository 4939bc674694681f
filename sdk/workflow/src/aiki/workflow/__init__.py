"""Define durable workflows: ordinary coroutines whose every step is recorded."""

"""Define durable tasks: functions that a worker runs, and whose result a run records once."""

"""Procrastinate: a task queue in PostgreSQL, no workflows: the floor of what a chain of jobs costs there."""

"""Absurd: workflows in PostgreSQL functions, fetched by polling workers."""

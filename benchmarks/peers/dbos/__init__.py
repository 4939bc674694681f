"""DBOS: a library that keeps workflows in PostgreSQL; client and worker are one process."""

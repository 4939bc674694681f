"""Messaging: the port, JetStream, and the in-memory twin."""

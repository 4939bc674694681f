"""Restate: a server in Rust with a log of its own; handlers are served over HTTP/2 by granian."""

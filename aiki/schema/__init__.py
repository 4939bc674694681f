"""Validation of payloads: any supported Python type to JSON and back, and the canonical form that content addresses are made from."""

from aiki.schema.canonical import content_hash, payload_hash, salted
from aiki.schema.choose import schema_for
from aiki.schema.port import Schema
from aiki.schema.signature import Signature, read_signature, result_schema
from aiki.schema.structural import MAX_PAYLOAD

__all__ = ["MAX_PAYLOAD", "Schema", "Signature", "content_hash", "payload_hash", "read_signature", "result_schema", "salted", "schema_for"]

"""Validation of payloads: any supported Python type to JSON and back, and the canonical form that content addresses are made from."""

from aiki.schema.bulk import decoded, encoded
from aiki.schema.canonical import content_hash, payload_hash, salted
from aiki.schema.choose import schema_for
from aiki.schema.claim import HASHED, Claim, claim_of, claimed, is_claim, largest_payload, needs_claim
from aiki.schema.port import Schema
from aiki.schema.signature import Signature, read_signature, result_schema
from aiki.schema.structural import MAX_PAYLOAD

__all__ = [
    "HASHED",
    "MAX_PAYLOAD",
    "Claim",
    "Schema",
    "Signature",
    "claim_of",
    "claimed",
    "content_hash",
    "decoded",
    "encoded",
    "is_claim",
    "largest_payload",
    "needs_claim",
    "payload_hash",
    "read_signature",
    "result_schema",
    "salted",
    "schema_for",
]

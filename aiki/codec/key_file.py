"""A file of keys: `{"active": "k1", "keys": {"k1": "<32 bytes in base64>"}}`."""

import base64
import binascii
import os
import secrets
import stat
from pathlib import Path

import msgspec

from aiki.codec.aes_gcm import AesGcmCodec
from aiki.codec.keys import KEY_BYTES
from aiki.types.errors import DefinitionError

__all__ = ["KEY_BYTES", "is_open_to_others", "new_key", "read_key_file"]


class _KeyFile(msgspec.Struct, forbid_unknown_fields=True):
    keys: dict[str, str]
    active: str | None = None


def new_key() -> bytes:
    """A fresh key: 32 random bytes."""
    return secrets.token_bytes(KEY_BYTES)


def read_key_file(path: str | os.PathLike[str]) -> AesGcmCodec:
    """The codec that a file of keys makes. `DefinitionError`, which never shows a key, when it makes none."""
    file = Path(path)
    try:
        read = msgspec.json.decode(file.read_bytes(), type=_KeyFile)
        keys = {id: base64.b64decode(text, validate=True) for id, text in read.keys.items()}
    except OSError as error:
        raise DefinitionError(f"the file of keys {str(file)!r} cannot be read: {error.strerror}", what="codec") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise DefinitionError(
            f'the file of keys {str(file)!r} must be {{"active": "k1", "keys": {{"k1": "<base64>"}}}}: {error}', what="codec"
        ) from None
    except binascii.Error:
        raise DefinitionError(f"a key in {str(file)!r} is not base64", what="codec") from None
    return AesGcmCodec(keys, read.active)


def is_open_to_others(path: str | os.PathLike[str]) -> bool:
    """Whether others than its owner may read the file; False where files have no such permissions."""
    return os.name == "posix" and bool(Path(path).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))

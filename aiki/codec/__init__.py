"""What seals payloads: the port, AES-GCM, and where keys come from."""

from aiki.codec.aes_gcm import AesGcmCodec
from aiki.codec.key_file import KEY_BYTES, new_key, read_key_file
from aiki.codec.keys import KeyProvider
from aiki.codec.port import Codec

__all__ = ["KEY_BYTES", "AesGcmCodec", "Codec", "KeyProvider", "new_key", "read_key_file"]

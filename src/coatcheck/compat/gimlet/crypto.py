"""AES-ECB, gimlet's encryption of cookies. It reveals equal blocks, and does not detect changes.

It is used to read gimlet's cookies, and to write them while servers with gimlet still run (``side_by_side``). All other
cookies are sealed (`coatcheck.model.sealing`) with the same key.
"""

from __future__ import annotations

import binascii

__all__ = ["Crypter"]

_ADVICE = "Make one with `python -c 'import secrets; print(secrets.token_hex(32))'`."
_BLOCK = 16


class Crypter:
    """Encrypts and decrypts like gimlet.

    Raises:
        ValueError: The key is not 16, 24 or 32 bytes in hexadecimal.
    """

    recommended: str = _ADVICE

    def __init__(self, key: str | bytes) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        try:
            raw = binascii.unhexlify(key)
        except ValueError as error:  # the base of binascii.Error
            raise ValueError(f"Encryption key must be 64 hex digits (32 bytes). {_ADVICE}") from error
        if len(raw) not in (16, 24, 32):
            raise ValueError(f"Encryption key must be 16, 24, or 32 bytes. {_ADVICE}")
        self.key: bytes = raw
        self._cipher: Cipher[modes.ECB] = Cipher(algorithms.AES(raw), modes.ECB())  # noqa: S305 - see above

    def pad(self, cleartext: bytes) -> bytes:
        """`cleartext` with 1 to 16 zero bytes appended, up to a whole block."""
        return cleartext + b"\0" * (_BLOCK - len(cleartext) % _BLOCK)

    def unpad(self, cleartext: bytes) -> bytes:
        """`cleartext` without the zero bytes at its end."""
        return cleartext.rstrip(b"\0")

    def encrypt(self, cleartext: bytes) -> bytes:
        """Pad and encrypt, for servers that still run gimlet."""
        encryptor = self._cipher.encryptor()
        return encryptor.update(self.pad(cleartext)) + encryptor.finalize()

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Decrypt and remove the padding.

        Raises:
            ValueError: `ciphertext` is not a whole number of blocks.
        """
        decryptor = self._cipher.decryptor()
        return self.unpad(decryptor.update(ciphertext) + decryptor.finalize())

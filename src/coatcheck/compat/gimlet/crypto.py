"""AES-ECB, with which gimlet encrypted cookies. It shows which blocks are equal, and it does not notice changes.

It is here to read such cookies, and to write them while old servers run beside (``side_by_side``). What is newly written
otherwise is sealed (`coatcheck.model.sealing`), with the same key.
"""

from __future__ import annotations

import binascii

__all__ = ["Crypter"]

_ADVICE = "Make one with `python -c 'import secrets; print(secrets.token_hex(32))'`."
_BLOCK = 16


class Crypter:
    """Encrypts and decrypts as gimlet did.

    Raises:
        ValueError: The key is not the hexadecimal text of 16, 24 or 32 bytes.
    """

    recommended: str = _ADVICE

    def __init__(self, key: str | bytes) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        try:
            raw = binascii.unhexlify(key)
        except ValueError as error:  # binascii.Error is one
            raise ValueError(f"Encryption key must be 64 hex digits (32 bytes). {_ADVICE}") from error
        if len(raw) not in (16, 24, 32):
            raise ValueError(f"Encryption key must be 16, 24, or 32 bytes. {_ADVICE}")
        self.key: bytes = raw
        self._cipher: Cipher[modes.ECB] = Cipher(algorithms.AES(raw), modes.ECB())  # noqa: S305 - see above

    def pad(self, cleartext: bytes) -> bytes:
        """With 1 to 16 zero bytes after it, up to a whole block."""
        return cleartext + b"\0" * (_BLOCK - len(cleartext) % _BLOCK)

    def unpad(self, cleartext: bytes) -> bytes:
        """Without the zero bytes at its end."""
        return cleartext.rstrip(b"\0")

    def encrypt(self, cleartext: bytes) -> bytes:
        """Encrypted, padded before. Only gimlet itself still needs it."""
        encryptor = self._cipher.encryptor()
        return encryptor.update(self.pad(cleartext)) + encryptor.finalize()

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Decrypted, with the padding off.

        Raises:
            ValueError: It is no whole number of blocks.
        """
        decryptor = self._cipher.decryptor()
        return self.unpad(decryptor.update(ciphertext) + decryptor.finalize())

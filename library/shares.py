"""Songs that were shared by a link: a token that opens one of them, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
from pathlib import Path

from core.files import write_whole

KEY = ".share-key"
"""The file of the secret, in the folder of songs: never served, and a new one closes every link made before."""

KEY_BYTES = 32


class Shares:
    """Makes and opens the tokens of one folder of songs: nobody can make one who does not have its secret."""

    def __init__(self, root: Path) -> None:
        self.key_file = root / KEY
        self._lock = threading.Lock()

    def token(self, identity: str) -> str:
        """What opens the song of that id. Raises OSError where the secret cannot be kept."""
        return f"{identity}.{self._seal(identity, self._key())}"

    def opened(self, token: str) -> str | None:
        """The id of the song that a token opens; None for one that was not made here."""
        identity, _, seal = token.rpartition(".")
        try:
            key = self.key_file.read_bytes()
        except OSError:
            return None  # nothing was ever shared
        whole = len(key) == KEY_BYTES and seal.isascii()
        return identity if whole and hmac.compare_digest(seal, self._seal(identity, key)) else None

    def _key(self) -> bytes:
        """The secret, made when the first song is shared."""
        with self._lock:
            if not self.key_file.exists():
                self.key_file.parent.mkdir(parents=True, exist_ok=True)
                write_whole(self.key_file, secrets.token_bytes(KEY_BYTES))
                self.key_file.chmod(0o600)
            return self.key_file.read_bytes()

    @staticmethod
    def _seal(identity: str, key: bytes) -> str:
        mac = hmac.digest(key, f"share:{identity}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(mac).decode().rstrip("=")

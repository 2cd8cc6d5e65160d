"""Who may ask. Keys are compared in constant time, and told apart by a hash, so that none is ever kept or shown."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence

from kitae.core.errors import InputError


def keys_from(variable: str | None) -> list[str]:
    """Of an environment variable; several are separated by commas."""
    if variable is None:
        return []
    keys = [key.strip() for key in os.environ.get(variable, "").split(",") if key.strip()]
    if not keys or not all(key.isascii() and key.isprintable() for key in keys):
        raise InputError("serve-key", where=variable)
    return keys


class Keys:
    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [key.encode() for key in keys]

    def owner(self, authorization: str | None) -> str | None:
        """Whose the request is; None: nobody's who may ask. Without keys all are the same."""
        if not self._keys:
            return ""
        scheme, _, given = (authorization or "").partition(" ")
        offered = given.strip().encode("utf-8", "replace")
        known = False
        for key in self._keys:  # all of them, so that time doesn't tell which came near
            known |= hmac.compare_digest(key, offered)
        return hashlib.sha256(offered).hexdigest()[:16] if known and scheme.lower() == "bearer" else None

"""A keyring in a file, for tests alone: the path is in `KOTARO_TEST_KEYRING`; `locked` in it is a keyring that is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import keyring.backend
import keyring.errors


class FileKeyring(keyring.backend.KeyringBackend):
    """Named by `PYTHON_KEYRING_BACKEND`."""

    priority = 1.0

    def _all(self) -> dict[str, str]:
        path = Path(os.environ["KOTARO_TEST_KEYRING"])
        text = path.read_text(encoding="utf-8") if path.exists() else "{}"
        if text == "locked":
            raise keyring.errors.KeyringLocked("locked")
        kept: dict[str, str] = json.loads(text)
        return kept

    def _keep(self, kept: dict[str, str]) -> None:
        Path(os.environ["KOTARO_TEST_KEYRING"]).write_text(json.dumps(kept), encoding="utf-8")

    def get_password(self, service: str, username: str) -> str | None:
        return self._all().get(f"{service}/{username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        self._keep({**self._all(), f"{service}/{username}": password})

    def delete_password(self, service: str, username: str) -> None:
        kept = self._all()
        del kept[f"{service}/{username}"]
        self._keep(kept)

"""Secrets of this user, in the keyring of the operating system and nowhere else. Implements
`domain.ports_models.TokenStore`.

Must not log, print or keep what it hands out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from kotaro_bridge.domain.errors import ProblemError, problem

T = TypeVar("T")

HUGGING_FACE = "hugging-face"
_SERVICE = "kotaro-bridge"


class KeyringToken:
    """One secret under a name.

    Args:
        name: what it is for; simulated: the PC that it belongs to, "" for the real one.
    """

    def __init__(self, name: str, simulated: str = "") -> None:
        self._name = name
        self._service = f"{_SERVICE}-{simulated}" if simulated else _SERVICE

    @property
    def where(self) -> str:
        """Under which name the keyring has it."""
        return f"{self._service}, {self._name}"

    def get(self) -> str | None:
        """See `TokenStore.get`."""
        import keyring

        return _unlocked(lambda: keyring.get_password(self._service, self._name))

    def set(self, token: str) -> None:
        """See `TokenStore.set`."""
        import keyring

        _unlocked(lambda: keyring.set_password(self._service, self._name, token))

    def forget(self) -> bool:
        """See `TokenStore.forget`."""
        import keyring

        if self.get() is None:
            return False
        _unlocked(lambda: keyring.delete_password(self._service, self._name))
        return True


def has_keyring() -> bool:
    """False where the system has no keyring at all, which holds nothing then; one that is locked counts."""
    import keyring
    from keyring.backends import fail

    return not isinstance(keyring.get_keyring(), fail.Keyring)


def _unlocked(ask: Callable[[], T]) -> T:
    """What the keyring says. Raises ProblemError `token.keyring` if there is none to be used."""
    import keyring.errors

    try:
        return ask()
    except (keyring.errors.KeyringError, RuntimeError, OSError) as error:
        raise ProblemError(problem("token.keyring", detail=f"{type(error).__name__}: {error}")) from error

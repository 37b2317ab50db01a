"""What unit tests share."""

from __future__ import annotations

from collections.abc import Iterator

import keyring
import pytest
from keyring.backends import fail


@pytest.fixture
def no_keyring() -> Iterator[None]:
    """This user's own keyring is nobody's business here, nor one that another test has made."""
    before = keyring.get_keyring()
    keyring.set_keyring(fail.Keyring())  # type: ignore[no-untyped-call]
    yield
    keyring.set_keyring(before)

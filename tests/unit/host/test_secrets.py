"""The token in the keyring."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backends import fail

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.host.secrets import HUGGING_FACE, KeyringToken
from tests.helpers.file_keyring import FileKeyring


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "keyring"
    monkeypatch.setenv("KOTARO_TEST_KEYRING", str(path))
    before = keyring.get_keyring()
    keyring.set_keyring(FileKeyring())  # type: ignore[no-untyped-call]
    yield path
    keyring.set_keyring(before)


def test_kept_and_forgotten(store: Path) -> None:
    token = KeyringToken(HUGGING_FACE)
    assert token.get() is None
    token.set("hf_one")
    assert token.get() == "hf_one"
    assert token.forget()
    assert not token.forget()
    assert token.get() is None


def test_a_simulated_pc_has_a_token_of_its_own(store: Path) -> None:
    KeyringToken(HUGGING_FACE).set("hf_real")
    assert KeyringToken(HUGGING_FACE, "rtx4070-12gb").get() is None


def test_a_keyring_that_is_locked(store: Path) -> None:
    store.write_text("locked")
    with pytest.raises(ProblemError) as raised:
        KeyringToken(HUGGING_FACE).get()
    assert raised.value.problem.code == "token.keyring"


def test_no_keyring_at_all(store: Path) -> None:
    keyring.set_keyring(fail.Keyring())  # type: ignore[no-untyped-call]
    for ask in (KeyringToken("x").get, KeyringToken("x").forget, lambda: KeyringToken("x").set("hf_a")):
        with pytest.raises(ProblemError) as raised:
            ask()
        assert raised.value.problem.code == "token.keyring"
        assert "hf_a" not in str(raised.value.problem)

"""The system's language: of its menus on Windows, of the variables elsewhere."""

from __future__ import annotations

import ctypes
import locale
import sys

import pytest

from kotaro_bridge.host.language import system_language

VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has its own answer")
@pytest.mark.parametrize(
    ("variables", "language"),
    [
        ({}, "en"),
        ({"LANG": "ja_JP.UTF-8"}, "ja"),
        ({"LANG": "C"}, "en"),
        ({"LANG": "ja_JP.UTF-8", "LC_ALL": "en_US.UTF-8"}, "en"),
        ({"LANG": "de_DE", "LC_MESSAGES": "ja_JP"}, "ja"),
        ({"LANG": "ja", "LC_ALL": ""}, "ja"),
    ],
)
def test_variables(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], language: str) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert system_language() == language


@pytest.mark.skipif(sys.platform != "win32", reason="Windows' menus")
def test_menus_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the variables nor the formats say anything there."""
    if sys.platform == "win32":
        identifier = ctypes.windll.kernel32.GetUserDefaultUILanguage()
        menus = locale.windows_locale[identifier].partition("_")[0]
        other = "en_US" if menus == "ja" else "ja_JP"
        for name in VARIABLES:
            monkeypatch.setenv(name, other)
        assert system_language() == ("ja" if menus == "ja" else "en")

"""Sentences for people, from `resources/i18n/<language>.toml`, for the command line and the windows alike.

Owns turning a `Problem` into words: what happened, to what, what to do next. Must not import Qt and must not decide
anything. One catalogue serves both front ends, so that a terminal and a dialog never say different things.
"""

from __future__ import annotations

import string
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from kotaro_bridge.domain.errors import Param, Problem
from kotaro_bridge.domain.units import format_mib, wsl_size
from kotaro_bridge.resources import resource

LANGUAGES = ("en", "ja")
_OF_WSL = "wslconfig."


@dataclass(frozen=True, slots=True)
class Message:
    """A problem in words: `what` happened, what to `do` next (may be empty)."""

    what: str
    do: str


class Texts:
    """The sentences of one language; a key that a translation lacks falls back to English."""

    def __init__(self, language: str) -> None:
        self._english = load_catalogue("en")
        self.use(language)

    def use(self, language: str) -> None:
        """Speak another language from here on."""
        self.language = language if language in LANGUAGES else "en"
        self._own = load_catalogue(self.language)

    def text(self, key: str, /, **params: Param) -> str:
        """The sentence of `key`, which must exist in English. Raises KeyError for an unknown key."""
        return self._fill(self._own.get(key) or self._english[key], params, of_wsl=key.startswith(_OF_WSL))

    def message(self, problem: Problem) -> Message:
        """A problem in words. An unknown code is shown as it is, with its values, rather than hidden."""
        what_key, do_key = f"{problem.code}.what", f"{problem.code}.do"
        if what_key not in self._english:
            values = ", ".join(f"{name}={value}" for name, value in problem.params.items())
            return Message(f"{problem.code} ({values})" if values else problem.code, "")
        do = self.text(do_key, **problem.params) if do_key in self._english else ""
        return Message(self.text(what_key, **problem.params), do)

    def _fill(self, template: str, params: Mapping[str, Param], *, of_wsl: bool) -> str:
        shown = {name: self._shown(name, value, of_wsl=of_wsl) for name, value in params.items()}
        if isinstance(error := params.get("error"), str) and f"{error}.what" in self._english:
            # A problem that led to this one: its sentence in the middle of ours.
            inner = {name: value for name, value in params.items() if name != "error"}
            shown["error"] = self.text(f"{error}.what", **inner).rstrip(".。")
        return _Gaps().vformat(template, (), shown)

    def _shown(self, name: str, value: Param, *, of_wsl: bool) -> Param:
        """A value as a person reads it: bytes as MiB, those of WSL's settings in the units of that file, and what a log
        lacks by its name.
        """
        if isinstance(value, str):
            return ", ".join(self._evidence(word) for word in value.split(",")) if name == "missing" else value
        if not name.endswith("_bytes"):
            return value
        return " ".join(wsl_size(int(value))) if of_wsl else format_mib(int(value))

    def _evidence(self, word: str) -> str:
        key = f"evidence.{word}"
        return self._own.get(key) or self._english.get(key, word)


class _Gaps(string.Formatter):
    """A value that is not there prints as `?`: a sentence with a gap beats a crash in an error path."""

    def get_value(self, key: int | str, args: Any, kwargs: Any) -> Any:
        return kwargs.get(key, "?")


@cache
def load_catalogue(language: str) -> Mapping[str, str]:
    """All sentences of a language under dotted keys."""
    flat: dict[str, str] = {}

    def walk(prefix: str, table: Mapping[str, Any]) -> None:
        for key, value in table.items():
            name = f"{prefix}{key}"
            if isinstance(value, dict):
                walk(f"{name}.", value)
            else:
                flat[name] = str(value).strip()

    walk("", tomllib.loads(resource(f"i18n/{language}.toml").read_text(encoding="utf-8")))
    return flat

"""The sentences that a person should have read: by their codes, so that rewording one breaks no test."""

from __future__ import annotations

import re
import string

from kotaro_bridge.domain.errors import Param, Problem
from kotaro_bridge.texts import Message, Texts, load_catalogue


def sentence(code: str, language: str = "en", /, **params: Param) -> Message:
    """What a problem prints as."""
    message = Texts(language).message(Problem(code, params))
    assert message.what != code, f"no sentence for {code}"
    return message


def text(key: str, language: str = "en", **params: Param) -> str:
    """A sentence of the command line or of the windows."""
    return Texts(language).text(key, **params)


def phase(name: str, language: str = "en") -> str:
    """The line that `run` prints when a run comes into a state."""
    return text(f"ui.phase.{name}", language)


def pattern(code: str, language: str = "en") -> re.Pattern[str]:
    """What a problem prints as, whatever its numbers and names are."""
    template = load_catalogue(language)[f"{code}.what"]
    parts = string.Formatter().parse(template)
    return re.compile("".join(re.escape(text) + (".*" if name is not None else "") for text, name, _, _ in parts))

"""The settings of the application: what a person may choose, decoded from TOML strictly and told where it is wrong.

Owns the typed form and what each key takes. Must not read files (`host/settings_store.py`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Final, TypeAlias

from kotaro_bridge.domain.errors import Problem, ProblemError, problem

SettingValue: TypeAlias = str | bool

START_AT_LOGIN: Final = "start_at_login"
"""Set like a setting, but kept where the system keeps it: the file has no such key."""

SYSTEM: Final = "system"
"""How a person writes the empty value of language and theme."""

CHOICES: Final[Mapping[str, tuple[str, ...]]] = {"language": ("", "en", "ja"), "theme": ("", "light", "dark")}
_SWITCHES: Final = ("check_updates",)
KEYS: Final = (*CHOICES, *_SWITCHES)
_TRUE: Final = ("true", "on", "yes", "1")
_FALSE: Final = ("false", "off", "no", "0")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a person chose.

    Args:
        language: `en` or `ja`, "" for that of the system; theme: `light` or `dark`, "" for that of the system.
        check_updates: look for a newer version once a day.
    """

    language: str = ""
    theme: str = ""
    check_updates: bool = False


@dataclass(frozen=True, slots=True)
class LoginStart:
    """What the system knows of starting this program at login.

    Args:
        enabled: it will be started; None where the system has no such thing.
        switched_off: there is an entry, but a person switched it off in Task Manager or in Windows' settings.
        elsewhere: the command of an entry that starts another copy of the program, or one that is there no longer; ""
            for ours.
    """

    enabled: bool | None
    switched_off: bool = False
    elsewhere: str = ""


@dataclass(frozen=True, slots=True)
class OpenedSettings:
    """The settings as they are now, and what is wrong with their file: what is wrong counts as not written."""

    settings: Settings
    problems: tuple[Problem, ...] = ()


def decode_settings(text: str, *, file: str) -> OpenedSettings:
    """The settings of a file's text.

    Raises:
        ProblemError: `settings.broken`: the text is no TOML.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProblemError(problem("settings.broken", file=file, detail=str(error))) from None
    found: dict[str, SettingValue] = {}
    problems = []
    for key, value in table.items():
        if key not in KEYS:
            known = ", ".join(KEYS)
            problems.append(problem("settings.unknown_key", file=file, key=key, near=_near(key, KEYS), known=known))
        elif _takes(key, value):
            found[key] = value
        else:
            bad = {"key": key, "value": _shown(value), "allowed": allowed(key)}
            problems.append(problem("settings.bad_value", file=file, **bad))
    return OpenedSettings(replace(Settings(), **found), tuple(problems))  # type: ignore[arg-type]


def as_table(settings: Settings) -> dict[str, SettingValue]:
    """The settings by key."""
    return asdict(settings)


def parse_change(word: str) -> tuple[str, SettingValue]:
    """`key=value` as a person types it, `start_at_login` among the keys.

    Raises:
        ProblemError: `settings.unknown_name`, `settings.no_value` or `settings.bad_word`.
    """
    key, equals, written = (part.strip() for part in word.partition("="))
    keys = (*KEYS, START_AT_LOGIN)
    if key not in keys:
        raise ProblemError(problem("settings.unknown_name", key=key, near=_near(key, keys), known=", ".join(keys)))
    if not equals:
        raise ProblemError(problem("settings.no_value", key=key, allowed=allowed(key)))
    value = _parsed(key, written.lower())
    if value is None:
        raise ProblemError(problem("settings.bad_word", key=key, value=written, allowed=allowed(key)))
    return key, value


def allowed(key: str) -> str:
    """What a key takes, for a sentence."""
    return ", ".join(choice or SYSTEM for choice in CHOICES[key]) if key in CHOICES else "true, false"


def _parsed(key: str, word: str) -> SettingValue | None:
    if key not in CHOICES:
        return word in _TRUE if word in (*_TRUE, *_FALSE) else None
    value = "" if word == SYSTEM else word
    return value if value in CHOICES[key] else None


def _takes(key: str, value: object) -> bool:
    return value in CHOICES[key] if key in CHOICES else isinstance(value, bool)


def _near(key: str, keys: tuple[str, ...]) -> str:
    import difflib  # after a mistake alone

    return next(iter(difflib.get_close_matches(key, keys, 1)), "-")


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

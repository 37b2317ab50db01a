"""Changes of a profile as a person types them: `KEY=VALUE`, and a profile from nothing but keys.

Owns which keys there are, how the text of a value becomes one, and what a new profile has where nothing is said. Must
not read or write files (`host/profile_store.py`); whether the whole is a profile, `profile.py` says.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from functools import cache
from typing import TypeAlias

import msgspec.inspect

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.profile import Profile, VllmOptions, VramNeed

Value: TypeAlias = str | int | bool | tuple[int, ...] | tuple[str, ...]
Changes: TypeAlias = Mapping[str, Value | None]
"""New values by key, None for one that goes; a key within a table has the table's name before it (`vllm.images`)."""

_TABLES: Mapping[str, type[msgspec.Struct]] = {"need": VramNeed, "vllm": VllmOptions}
_OF_THE_FILE = ("id", "builtin")  # the file's name, and where it lies
_NUMBER = re.compile(r"-?[0-9]{1,15}")
_BOOLEANS = {"true": True, "false": False}
_LISTS_OF_NUMBERS = ("gpus",)
_LISTS_OF_WORDS = ("extra_args",)

EXECUTABLES = {Engine.LLAMA_SERVER: "~/llama.cpp/build/bin/llama-server", Engine.VLLM: "~/vllm/bin/vllm"}
"""Where the README installs the engines."""
PORTS = {Engine.LLAMA_SERVER: 8080, Engine.VLLM: 8000}


def known_keys() -> tuple[str, ...]:
    """All keys of a profile's file, those of its tables among them."""
    plain = [field for field in Profile.__struct_fields__ if field not in (*_OF_THE_FILE, *_TABLES)]
    nested = [f"{table}.{field}" for table, kind in _TABLES.items() for field in kind.__struct_fields__]
    return (*plain, *nested)


def parse_edits(words: list[str]) -> Changes:
    """Words such as `context=16384`, `gpus=0,1`, `vllm.images=true`; `KEY=` takes the key out, so that its default
    holds, and `need=` or `vllm=` the whole table.

    Raises:
        ProblemError: `profile.edit_form` (no KEY=VALUE), `profile.edit_key` with the `known` ones, `profile.edit_value`
            with what is `wanted`.
    """
    changes: dict[str, Value | None] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ProblemError(problem("profile.edit_form", word=word))
        if key not in known_keys() and not (key in _TABLES and not text):
            raise ProblemError(problem("profile.edit_key", key=key, known=", ".join(known_keys())))
        changes[key] = _value(key, text) if text else None
    return changes


def with_engine(before: Profile, changes: Changes) -> Changes:
    """The changes with what another engine brings along: what was the old one's default becomes the new one's, unless
    it is given.
    """
    found: dict[str, Value | None] = {}
    for engine in Engine:
        if changes.get("engine") == engine and before.executable == EXECUTABLES[before.engine]:
            found["executable"] = EXECUTABLES[engine]
        if changes.get("engine") == engine and before.port == PORTS[before.engine]:
            found["port"] = PORTS[engine]
    return found | dict(changes)


def _value(key: str, text: str) -> Value:
    table, _, field = key.rpartition(".")
    if field in _LISTS_OF_NUMBERS:
        parts = text.replace(" ", "").split(",")
        if not all(_NUMBER.fullmatch(part) for part in parts):
            raise ProblemError(problem("profile.edit_value", key=key, value=text, wanted="0,1"))
        return tuple(int(part) for part in parts)
    if field in _LISTS_OF_WORDS:
        try:
            return tuple(shlex.split(text))
        except ValueError:
            raise ProblemError(problem("profile.edit_value", key=key, value=text, wanted='"--temp 0.7"')) from None
    kind = _kind(_TABLES.get(table, Profile), field)
    if isinstance(kind, msgspec.inspect.IntType):
        if not _NUMBER.fullmatch(text):
            raise ProblemError(problem("profile.edit_value", key=key, value=text, wanted="8192"))
        return int(text)
    if isinstance(kind, msgspec.inspect.BoolType):
        if text.lower() not in _BOOLEANS:
            raise ProblemError(problem("profile.edit_value", key=key, value=text, wanted="true, false"))
        return _BOOLEANS[text.lower()]
    return text


@cache
def _kind(struct: type[msgspec.Struct], field: str) -> msgspec.inspect.Type | None:
    """What a field is declared to hold."""
    found = msgspec.inspect.type_info(struct)
    fields = found.fields if isinstance(found, msgspec.inspect.StructType) else ()
    return next((each.type for each in fields if each.name == field), None)


def new_profile(profile_id: str, engine: Engine, given: Changes, *, target: str) -> dict[str, Value]:
    """The keys of a new profile: what is given, and what has to be there besides.

    Args:
        given: without `engine`; None where nothing is said. target: where engines run on this PC.
    """
    keys: dict[str, Value] = {
        "title": profile_id,
        "engine": engine.value,
        "executable": EXECUTABLES[engine],
        "target": target,
        "model": "",
        "served_name": profile_id,
        "port": PORTS[engine],
    }
    return keys | {key: value for key, value in given.items() if value is not None}

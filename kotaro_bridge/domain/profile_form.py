"""A profile as the fields of a form: texts as typed, what is wrong with each, and what a save would change.

Owns how several mistakes are found at once and which of a file's keys a change touches. Whether a value is right, say
`profile.py`, `profile_edit.py` and `arguments.py`. Must not read files and holds no sentence.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from kotaro_bridge.domain.engine.arguments import checked_extra_args
from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.profile import KV_TYPES, KvType, Profile, VllmOptions, decode_profile
from kotaro_bridge.domain.profile_edit import EXECUTABLES, PORTS, Value, parse_edits

if TYPE_CHECKING:
    from kotaro_bridge.domain.model.catalogue import CatalogueEntry

ALIKE = (
    *("title", "engine", "target", "executable", "model", "served_name", "context", "port", "parallel", "kv_type"),
    *("gpus", "extra_args", "watch"),
)
"""Keys that both engines have."""
OF_LLAMA = ("projector",)
OF_VLLM = ("vllm.max_num_seqs", "vllm.max_num_batched_tokens", "vllm.images", "vllm.trust_remote_code")
KEYS = (*ALIKE, *OF_LLAMA, *OF_VLLM)
PLANNED = frozenset(
    {"engine", "model", "projector", "context", "parallel", "kv_type", "gpus", "extra_args"}
    | {"vllm.max_num_seqs", "vllm.max_num_batched_tokens", "vllm.images"}
)
"""Keys that change what a start takes of the card."""
_MEASURED_WITH = {Engine.LLAMA_SERVER: PLANNED, Engine.VLLM: PLANNED - {"context", "parallel"}}
CONTEXT = 8192
"""Tokens of a new profile."""
_SOUND: Mapping[str, Value] = MappingProxyType(
    {"title": "x", "executable": "x", "model": "x", "served_name": "x", "context": CONTEXT, "port": 8080}
)
_BOUND = re.compile(r"Expected `int` (>=|<=) (\d+)")
_NEW_ID = "new"
_ID_BREAK = re.compile(r"[^a-z0-9._-]+")

Texts = Mapping[str, str]
"""What stands in the fields, by key."""


@dataclass(frozen=True, slots=True)
class Form:
    """What the fields say.

    Args:
        profile: with a sound value in the place of each that is wrong, so that the rest can be planned.
        problems: by key, each key's in the order of its text; only the extra arguments have more than one.
    """

    profile: Profile
    problems: Mapping[str, tuple[Problem, ...]]

    @property
    def is_sound(self) -> bool:
        """True if nothing is wrong."""
        return not self.problems

    @property
    def can_be_planned(self) -> bool:
        """True if nothing is wrong that a plan depends on; arguments that are refused are left out of it."""
        return not (PLANNED - {"extra_args"}).intersection(self.problems)


def keys_of(engine: Engine) -> tuple[str, ...]:
    """The fields that an engine has."""
    return (*ALIKE, *(OF_VLLM if engine is Engine.VLLM else OF_LLAMA))


def texts_of(profile: Profile) -> dict[str, str]:
    """The fields of a profile, those of the other engine with its defaults."""
    return {key: _text(_value(profile, key)) for key in KEYS}


def read_form(texts: Texts, base: Profile) -> Form:
    """The profile that the fields say.

    Args:
        base: what the fields were filled from; what has no field is taken from it.
    """
    problems: dict[str, tuple[Problem, ...]] = {}
    engine = Engine(texts["engine"])
    values: dict[str, Value] = {}
    for key in keys_of(engine):
        try:
            value = parse_edits([f"{key}={texts[key].strip()}"])[key]
        except ProblemError as error:
            problems[key] = (_in_a_field(error.problem, key),)
        else:
            if value is not None:
                values[key] = value
            elif key in _SOUND or key == "gpus":
                problems[key] = (problem("editor.empty"),)
    profile = _decoded(values, base, problems)
    wrong = argument_problems(profile)
    if wrong:
        problems["extra_args"] = wrong
        profile = msgspec.structs.replace(profile, extra_args=())
    return Form(profile, problems)


def _decoded(values: dict[str, Value], base: Profile, problems: dict[str, tuple[Problem, ...]]) -> Profile:
    """Decode, and again without what was wrong, until it is a profile: each turn finds one mistake more."""
    sound = {key: _SOUND[key] for key in problems if key in _SOUND}
    while True:
        given = "\n".join(f"{key} = {_toml(value)}" for key, value in (values | sound).items())
        try:
            found = decode_profile(given, file="", profile_id=base.id or _NEW_ID)
        except ProblemError as error:
            key = _key_of(error.problem, values)
            if key is None:
                raise  # none of the fields: ours
            problems.setdefault(key, (_in_a_field(error.problem, key),))
            del values[key]
            sound |= {key: _SOUND[key]} if key in _SOUND else {}
        else:
            need = base.need if measured_alike(found, base) else None
            return msgspec.structs.replace(found, id=base.id, version=base.version, builtin=base.builtin, need=need)


def _toml(value: Value) -> str:
    """JSON is TOML here, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key_of(what: Problem, values: Mapping[str, Value]) -> str | None:
    """The field that a problem is about: `gpus.0` and `extra_args` are whole fields."""
    named = str(what.params.get("key", ""))
    return next((key for key in values if named == key or named.startswith(f"{key}.")), None)


def _in_a_field(what: Problem, key: str) -> Problem:
    """The same beside the field, where file and line say nothing."""
    if what.code == "profile.edit_value":
        return problem("editor.quotes" if key == "extra_args" else "editor.number")
    if what.code == "profile.value":
        bound = _BOUND.search(str(what.params.get("detail", "")))
        if bound is None:
            return problem("editor.value", detail=what.params.get("detail", ""))
        return problem("editor.at_least" if bound[1] == ">=" else "editor.at_most", bound=f"{int(bound[2]):,}")
    codes = {
        "profile.empty": "editor.empty",
        "profile.kv_type": "editor.kv_type",
        "profile.target": "editor.target",
        "profile.control": "editor.control",
        "profile.reads_as_option": "editor.reads_as_option",
    }
    return problem(codes[what.code]) if what.code in codes else what


def argument_problems(profile: Profile) -> tuple[Problem, ...]:
    """Everything that is wrong with the extra arguments, in their order; each names its `argument`."""
    words, found = list(profile.extra_args), []
    while True:
        try:
            checked_extra_args(msgspec.structs.replace(profile, extra_args=tuple(words)))
        except ProblemError as error:
            found.append(error.problem)
            words = _without(words, str(error.problem.params["argument"]))
        else:
            return tuple(found)


def _without(words: list[str], argument: str) -> list[str]:
    """Without an argument and what may be its values."""
    start = next(place for place, word in enumerate(words) if word.partition("=")[0] == argument.partition("=")[0])
    end = start + 1
    while end < len(words) and not words[end].startswith("-"):
        end += 1
    return words[:start] + words[end:]


def form_changes(base: Profile, edited: Profile) -> dict[str, Value | None]:
    """What a save changes in the file of `base`: new values by key, None for a key that goes.

    A stated need goes with the values that it was measured at.
    """
    found: dict[str, Value | None] = {}
    for key in keys_of(edited.engine):
        if (value := _value(edited, key)) != _value(base, key):
            found[key] = value
    if edited.engine is not Engine.VLLM and base.vllm is not None:
        found["vllm"] = None
    if edited.engine is not Engine.LLAMA_SERVER and base.projector:
        found["projector"] = None
    if base.need is not None and edited.need is None:
        found["need"] = None
    if base.version and edited.engine is not base.engine:
        found["version"] = None
    return {key: None if value in ("", ()) else value for key, value in found.items()}


def form_keys(profile: Profile) -> dict[str, Value]:
    """The keys of a new file: what has to be there, what is not the default, and the limits that keep vLLM within its
    budget.
    """
    plain = {key: _value(profile, key) for key in keys_of(profile.engine)}
    bare = Profile("", profile.engine, "", "", "", CONTEXT, PORTS[profile.engine])
    kept = (*_SOUND, "engine", "target", "vllm.max_num_seqs", "vllm.max_num_batched_tokens")
    keys = {key: value for key, value in plain.items() if key in kept or value != _value(bare, key)}
    if profile.need is not None:
        keys |= {"need.vram_mib": profile.need.vram_mib, "need.source": profile.need.source}
    return keys


def measured_alike(one: Profile, other: Profile) -> bool:
    """True if what was measured of one holds for the other."""
    return one.engine is other.engine and all(_value(one, k) == _value(other, k) for k in _MEASURED_WITH[one.engine])


def with_engine(texts: Texts, engine: Engine) -> dict[str, str]:
    """The fields once a person has chosen the other engine: what was its default becomes this one's."""
    old = Engine(texts["engine"])
    found = dict(texts) | {"engine": engine.value}
    if texts["executable"].strip() in ("", EXECUTABLES[old]):
        found["executable"] = EXECUTABLES[engine]
    if texts["port"].strip() in ("", str(PORTS[old])):
        found["port"] = str(PORTS[engine])
    if texts["kv_type"] not in KV_TYPES[engine]:
        found["kv_type"] = KvType.AUTO.value
    return found


def new_id(title: str, taken: Iterable[str]) -> str:
    """An id for a new profile, from its title: one that no other has."""
    wanted = _ID_BREAK.sub("-", title.lower()).strip("-._")[:56] or "model"
    others, found, number = frozenset(taken), wanted, 2
    while found in others:
        found, number = f"{wanted}-{number}", number + 1
    return found


def keys_of_entry(entry: CatalogueEntry) -> dict[str, Value]:
    """What the catalogue says of a model, as keys of a profile. The files are where `models download` puts them."""
    from kotaro_bridge.domain.model.hub import folder_for  # loaded with the catalogue, not with the tray

    named = (*entry.files, entry.projector) if entry.projector else entry.files
    folder = folder_for(entry.repository, tuple(file.name for file in named))
    keys: dict[str, Value] = {
        "engine": entry.engine.value,
        "title": entry.name,
        "served_name": entry.model,
        "context": CONTEXT,
        "model": f"{folder}/{entry.files[0].name}" if entry.files else folder,
    }
    if entry.projector is not None:
        keys["projector"] = f"{folder}/{entry.projector.name}"
    elif entry.engine is Engine.VLLM and entry.sees_images:
        keys["vllm.images"] = True
    return keys


def _value(profile: Profile, key: str) -> Value:
    """As a file holds it."""
    table, _, name = key.rpartition(".")
    found: Value = getattr((profile.vllm or VllmOptions()) if table else profile, name)
    return found.value if isinstance(found, StrEnum) else found


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        words = tuple(str(each) for each in value)
        return ",".join(words) if all(isinstance(each, int) for each in value) else shlex.join(words)
    return str(value)

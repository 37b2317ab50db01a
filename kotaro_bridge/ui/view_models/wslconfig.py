"""The settings of .wslconfig in words: fields, findings, changes, and what a search finds. Must not import Qt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.units import GIB, KIB, MIB, wsl_size
from kotaro_bridge.domain.wsl.wslconfig_catalogue import MAIN_KEYS, MILLISECONDS
from kotaro_bridge.domain.wsl.wslconfig_effect import Effect
from kotaro_bridge.domain.wsl.wslconfig_findings import Finding, Weight, in_words
from kotaro_bridge.domain.wsl.wslconfig_keys import KEY_TYPES, KeyType
from kotaro_bridge.domain.wsl.wslconfig_reading import Warning_
from kotaro_bridge.domain.wsl.wslconfig_values import Value, format_value, typed
from kotaro_bridge.service.wslconfig_edit import Change, Editor, Field
from kotaro_bridge.texts import LANGUAGES, Message, Texts, load_catalogue

UNITS = {"GB": GIB, "MB": MIB, "KB": KIB, "B": 1}
"""Of a size, as WSL counts them: a GB is 2^30 bytes."""
FOLDERS = frozenset({"wsl2.crashDumpFolder", "general.distributionInstallPath"})
"""Paths that name a folder; the others name a file."""
MOST_WARNINGS = 100
"""A list of a hundred thousand helps nobody."""
_COMPUTED = frozenset({"wsl2.memory", "wsl2.processors", "wsl2.swap"})
_GLYPHS = {Weight.WRONG: ("failed", "bad"), Weight.RISKY: ("warning", "warn"), Weight.HINT: ("hint", "muted")}


@dataclass(frozen=True, slots=True)
class FindingView:
    """A finding: its shape, the word for that shape, and its sentences. `line` counts from 1."""

    glyph: str
    tone: str
    word: str
    what: str
    do: str
    line: int | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class SettingView:
    """One field of the form.

    Args:
        label: the name in the file; by_default: what an empty input stands for, None where that is not known.
        recommended: the value we would choose, "" for none or where it is in effect; use: as `Editor.set` takes it.
        state: one word beside the name, such as that it was changed here; "" for none.
    """

    key: str
    label: str
    name: str
    what: str
    hint: str
    default: str
    by_default: Value | None
    value: Value | None
    recommended: str
    reason: str
    use: str
    state: str
    can_undo: bool
    can_reset: bool
    findings: tuple[FindingView, ...]


def label_of(key: str) -> str:
    """`wsl2.memory` as the file names it."""
    return key.partition(".")[2]


def groups() -> dict[str, list[str]]:
    """The keys behind "All settings", by section."""
    found: dict[str, list[str]] = {}
    for key in KEY_TYPES:
        if key not in MAIN_KEYS:
            found.setdefault(key.partition(".")[0], []).append(key)
    return found


def name_of(texts: Texts, key: str) -> str:
    """What people call a setting."""
    return texts.text(f"wslconfig.key.{label_of(key)}.name")


def value_words(texts: Texts, key: str, value: Value | None) -> str:
    """A value for people."""
    if value is None:
        return texts.text("ui.wslconfig.not_set")
    if isinstance(value, bool):
        return texts.text("ui.wslconfig.on" if value else "ui.wslconfig.off")
    if isinstance(value, tuple):
        return ", ".join(str(port) for port in value)
    if isinstance(value, str):
        return value
    if KEY_TYPES[key] is KeyType.SIZE:
        return " ".join(wsl_size(value))
    return texts.text("ui.wslconfig.ms", count=f"{value:,}") if key in MILLISECONDS and value > 0 else str(value)


def split_size(size: int) -> tuple[str, str]:
    """Number and unit of a size in bytes, exact; 0 is in GB, the unit of the next one that is typed."""
    unit = next(unit for unit, factor in UNITS.items() if size % factor == 0)
    return str(size // UNITS[unit]), unit


def setting_unit(texts: Texts, key: str) -> str:
    """What stands behind the input of a number; "" for nothing."""
    return texts.text("ui.wslconfig.unit_ms") if key in MILLISECONDS else ""


def typed_text(key: str, value: Value) -> str:
    """A value as a person types it: without the escapes of the file."""
    return value if isinstance(value, str) else format_value(key, value)


def same_value(key: str, text: str, value: Value | None) -> bool:
    """True if a typed text means this value already: it is then left as it was typed."""
    try:
        return typed(key, text) == value
    except ProblemError:
        return False


def setting_view(texts: Texts, field: Field, *, written: bool) -> SettingView:
    """A field in words; `written`: there is a line for it, if only one that WSL refuses."""
    label, choice = label_of(field.key), field.recommended
    words = {part: texts.text(f"wslconfig.key.{label}.{part}") for part in ("name", "what", "default", "hint")}
    here = {"default": words["default"], "value": value_words(texts, field.key, field.default)}
    computed = field.key in _COMPUTED and field.default is not None
    in_effect = field.default if field.value is None else field.value
    chosen = choice is not None and in_effect == choice.value
    changed = field.value != field.saved
    policy = " " + texts.text("ui.wslconfig.by_policy") if field.by_policy else ""
    return SettingView(
        key=field.key,
        label=label,
        name=words["name"],
        what=words["what"],
        hint=words["hint"] + policy,
        default=texts.text("ui.wslconfig.default_here" if computed else "ui.wslconfig.default", **here),
        by_default=field.default,
        value=field.value,
        recommended=value_words(texts, field.key, choice.value) if choice and not chosen else "",
        reason=texts.message(choice.reason).what if choice else "",
        use=typed_text(field.key, choice.value) if choice else "",
        state=texts.text("ui.wslconfig.changed") if changed else "",
        can_undo=changed,
        can_reset=written,
        findings=tuple(finding_view(texts, each) for each in field.findings),
    )


def finding_view(texts: Texts, finding: Finding) -> FindingView:
    """A finding in words."""
    glyph, tone = _GLYPHS[finding.weight]
    message = texts.message(finding.message)
    word = texts.text(f"ui.wslconfig.weight.{finding.weight}")
    return FindingView(glyph, tone, word, message.what, message.do, finding.line, finding.key)


def problem_view(texts: Texts, message: Message) -> FindingView:
    """A typed text that WSL would not take."""
    glyph, tone = _GLYPHS[Weight.WRONG]
    return FindingView(glyph, tone, texts.text("ui.wslconfig.weight.wrong"), message.what, message.do)


def warning_views(texts: Texts, editor: Editor) -> tuple[FindingView, ...]:
    """What WSL itself will print, in its words; of a file of junk the first ones."""
    word = texts.text("ui.wslconfig.wsl_says")
    return tuple(
        FindingView("hint", "muted", word, texts.message(in_words(each)).what, "", _line_of(each, editor.document.file))
        for each in editor.lint().wsl_warnings[:MOST_WARNINGS]
    )


def _line_of(warning: Warning_, file: str) -> int | None:
    """WSL names file and line one behind the other."""
    for before, after in pairwise(warning):
        if before == file and after.isdecimal():
            return int(after)
    return None


def change_words(texts: Texts, changes: Iterable[Change]) -> tuple[tuple[str, str, str], ...]:
    """Name, before and after of each setting that a save changes."""
    return tuple(
        (name_of(texts, each.key), value_words(texts, each.key, each.before), value_words(texts, each.key, each.after))
        for each in changes
    )


def effect_mark(texts: Texts, effect: Effect) -> tuple[str, str, str]:
    """Glyph, tone and word of a setting that was compared with Linux."""
    marks = {True: ("passed", "good"), False: ("failed", "bad"), None: ("unknown", "warn")}
    words = {True: "same", False: "differs", None: "unknown"}
    return *marks[effect.ok], texts.text(f"ui.wslconfig.effect.{words[effect.ok]}")


def search_texts() -> dict[str, str]:
    """What a search looks through, by key: names, labels and explanations in all languages."""
    catalogues, parts = [load_catalogue(each) for each in LANGUAGES], ("name", "what", "hint")
    index = {}
    for key in KEY_TYPES:
        words = [each[f"wslconfig.key.{label_of(key)}.{part}"] for each in catalogues for part in parts]
        index[key] = "\n".join([key, *words]).casefold()
    return index


def search(index: dict[str, str], words: str) -> tuple[str, ...]:
    """The keys whose texts hold all words."""
    wanted = words.casefold().split()
    return tuple(key for key, text in index.items() if all(word in text for word in wanted))

"""What somebody meant by a line that WSL does not understand. Its own warnings say that; this says what to write."""

from __future__ import annotations

from itertools import islice

from kotaro_bridge.domain.wsl.wslconfig_catalogue import REMOVED
from kotaro_bridge.domain.wsl.wslconfig_document import Document
from kotaro_bridge.domain.wsl.wslconfig_findings import Advice, Findings, Weight
from kotaro_bridge.domain.wsl.wslconfig_keys import KEY_TYPES, KeyType
from kotaro_bridge.domain.wsl.wslconfig_reading import Entry, Region, Warning_
from kotaro_bridge.domain.wsl.wslconfig_values import canonical, meant_value, nearest

MOST_LINES = 50
"""Of each kind of mistake the first lines are explained. More help nobody, and junk has a hundred thousand."""
_SECTIONS = {"wsl2": "wsl2", "general": "general", "experimental": "experimental"}
_KEYS = {name.partition(".")[2].lower(): name for name in KEY_TYPES}
_COMMENT_MARKS = (";", "//", "--", "'")
_EXPLAINED = (
    "MessageConfigUnknownKey",
    "MessageConfigKeyDuplicated",
    "MessageConfigInvalidKey",
    "MessageConfigInvalidBoolean",
    "MessageConfigInvalidInteger",
    "MessageInvalidNumberString",
    "MessageConfigInvalidEnum",
)


def find_mistakes(document: Document, found: Findings) -> None:
    """Add what can be told of the lines that WSL warns of: of each of its messages the first lines."""
    _headers(document.reading.regions, found)
    lines: list[str] = []
    config = document.config
    left = dict.fromkeys(_EXPLAINED, MOST_LINES)
    for warning in config.warnings:
        message = warning[0]
        if message not in left:
            continue
        left[message] -= 1
        if not left[message]:
            del left[message]
        if message == "MessageConfigUnknownKey":
            _unknown(warning[1], int(warning[3]), found)
        elif message == "MessageConfigKeyDuplicated":
            key = canonical(warning[1])
            found.add(Advice.DUPLICATE, Weight.WRONG, int(warning[3]), key, key=warning[1], first=int(warning[6]))
        elif message == "MessageConfigInvalidKey":
            lines = lines or document.text.split("\n")
            _comment(lines, int(warning[2]), found)
        else:
            _value(warning, found)
    given_up = (entry for entry in document.reading.entries if not entry.taken)
    for entry in islice((entry for entry in given_up if KEY_TYPES[entry.key] is KeyType.PATH), MOST_LINES):
        _backslashes(document, entry, found)
    if config.fatal:
        _, value, name, _, line = config.fatal
        found.add(Advice.MAC, Weight.WRONG, int(line), canonical(name), value=value)


def _headers(regions: tuple[Region, ...], found: Findings) -> None:
    wrong = (region for region in regions if region.line and not (region.good and region.section in _SECTIONS))
    for region in islice(wrong, MOST_LINES):
        near = _section_near(region.name)
        if not region.good:
            found.add(Advice.SECTION_SPOILED, Weight.WRONG, region.line, name=region.name, meant=near or "wsl2")
        elif near is not None:
            found.add(Advice.SECTION_NEAR, Weight.WRONG, region.line, name=region.name, meant=near)
        else:
            found.add(Advice.SECTION_UNKNOWN, Weight.WRONG, region.line, name=region.name)


def _section_near(name: str) -> str | None:
    return name.lower() if name.lower() in _SECTIONS else nearest(name, _SECTIONS)


def _unknown(name: str, line: int, found: Findings) -> None:
    """A key that WSL does not know. What stands below a header that is wrong is told at the header."""
    section, dot, word = name.rpartition(".")
    known = _KEYS.get(word.lower())
    if not dot:
        if known is not None:
            belongs = known.partition(".")[0]
            found.add(Advice.NO_SECTION, Weight.WRONG, line, known, name=word, section=belongs)
    elif section.lower() in _SECTIONS:
        if known is not None:
            belongs = known.partition(".")[0]
            found.add(Advice.WRONG_SECTION, Weight.WRONG, line, known, name=word, section=section, belongs=belongs)
        elif name.lower() in REMOVED:
            found.add(Advice.REMOVED_KEY, Weight.WRONG, line, name=name)
        elif (near := nearest(word, _KEYS)) is not None:
            section_of, _, meant = _KEYS[near].partition(".")
            key = _KEYS[near]
            found.add(Advice.NEAR_MISS, Weight.WRONG, line, key, name=word, meant=meant, section=section_of)


def _value(warning: Warning_, found: Findings) -> None:
    text, name, line = warning[1], warning[2], int(warning[4])
    key = canonical(name)
    meant = meant_value(key, text) if key is not None else None
    if key is not None and meant is not None:
        found.add(Advice.VALUE_MEANT, Weight.WRONG, line, key, key=key, value=text, meant=meant)


def _comment(lines: list[str], line: int, found: Findings) -> None:
    text = lines[line - 1].lstrip() if line <= len(lines) else ""
    mark = next((mark for mark in _COMMENT_MARKS if text.startswith(mark)), None)
    if mark is not None:
        found.add(Advice.COMMENT_MARK, Weight.WRONG, line, mark=mark)


def _backslashes(document: Document, entry: Entry, found: Findings) -> None:
    """A path that WSL gives up because its backslashes are not doubled."""
    raw = document.text[entry.value_start : entry.value_end].replace('"', "")
    if raw.isprintable() and "\\" in raw:
        meant = raw.replace("\\\\", "\\").replace("\\", "\\\\")
        found.add(Advice.BACKSLASH, Weight.WRONG, entry.line, entry.key, key=entry.key, meant=meant)

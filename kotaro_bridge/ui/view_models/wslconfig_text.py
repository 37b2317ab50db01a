"""The raw view of a .wslconfig: what an editor widget can show of any text and how it comes back unharmed, what kind
each part of a line is, and the lines of a diff. Must not import Qt.

Lines are counted as WSL counts them: by line feeds. A carriage return in front of one belongs to the line end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from kotaro_bridge.domain.wsl.wslconfig_document import Document
from kotaro_bridge.domain.wsl.wslconfig_keys import KEY_TYPES
from kotaro_bridge.domain.wsl.wslconfig_reading import Entry
from kotaro_bridge.domain.wsl.wslconfig_values import Value

_STRANGE = (
    *(code for code in range(0x20) if code not in (0x09, 0x0A)),
    *range(0xD800, 0xE000),  # halves of characters: bytes that are no text, or a broken UTF-16
    *(0x2028, 0x2029, 0xFDD0, 0xFDD1, 0xFEFF, 0xFFFE),
)
_SHOWN_AS = {code: 0x100000 + number for number, code in enumerate(_STRANGE)}
_LONE = {code: 0xFFFD for code in range(0xD800, 0xE000)}
_SECTIONS = {key.partition(".")[0] for key in KEY_TYPES}
_HEADER = re.compile(r"[ \t]*\[([^\]\n]*)\]")
_SETTING = re.compile(r"([ \t]*)([A-Za-z][A-Za-z0-9]*)([ \t]*)(=?)([ \t]*)")


class Kind(StrEnum):
    """What a part of a line is."""

    SECTION = "section"
    KEY = "key"
    VALUE = "value"
    COMMENT = "comment"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a line, in UTF-16 units, as Qt counts."""

    start: int
    length: int
    kind: Kind


def shown(text: str) -> str:
    """A text as the widget can hold it: lines end with a line feed, what it cannot hold stands in private places."""
    return text.replace("\r\n", "\n").translate(_SHOWN_AS)


def merged(raw: str, before: str, after: str) -> str:
    """The raw text after an edit of what was shown; lines that nobody touched stay as they are.

    On the others what could not be shown comes back where the text held such a thing before.

    Args:
        raw: the text; before: `shown(raw)`; after: what the widget holds now.
    """
    if before == after:
        return raw
    lines, old, new = raw.split("\n"), before.split("\n"), after.split("\n")
    most = min(len(old), len(new))
    head = next((at for at in range(most) if old[at] != new[at]), most)
    most -= head
    tail = next((at for at in range(most) if old[-1 - at] != new[-1 - at]), most)
    kept = len(old) - tail
    usual = "\r" if "\n" not in raw or "\r\n" in raw else ""
    present = set(raw)
    meant = _LONE | {private: code for code, private in _SHOWN_AS.items() if chr(code) in present}
    made = lines[:head]
    if head == len(lines):
        made[-1] += usual  # the last line had no end, and is not the last one any more
    elif head == len(new):
        made[-1] = made[-1].removesuffix("\r")  # it is the last one now
    for at, line in enumerate(new[head : len(new) - tail], head):
        in_place = at < min(kept, len(lines) - 1)
        end = ("\r" if lines[at].endswith("\r") else "") if in_place else usual
        made.append(line.translate(meant) + (end if at < len(new) - 1 else ""))
    return "\n".join([*made, *lines[kept:]])


def ignored_lines(document: Document) -> frozenset[int]:
    """Lines, counted from 1, that say something and that WSL makes nothing of."""
    text, reading = document.text, document.reading
    used: set[int] = set()
    values = reading.config.values
    spans = sorted((entry.start, entry.end) for entry in reading.entries if _counts(entry, values))
    line, at = 1, 0
    for start, end in spans:
        line += text.count("\n", at, start)
        at = start
        used.update(range(line, line + max(1, text.count("\n", start, end))))
    bad = {each.line for each in reading.regions if not (each.good and each.section in _SECTIONS)}
    at_end = reading.end
    behind = 1 + text.count("\n", 0, at_end) + (at_end > 0 and text[at_end - 1] != "\n")
    ignored = set()
    for number, each in enumerate(text.split("\n"), 1):
        first = each.lstrip(" \t\r")[:1]
        if first and first != "#" and (number >= behind or (number in bad if first == "[" else number not in used)):
            ignored.add(number)
    return frozenset(ignored)


def _counts(entry: Entry, values: Mapping[str, Value]) -> bool:
    """True for a line whose value WSL takes."""
    return entry.taken and entry.key in values


def parts_of(line: str, ignored: bool) -> list[Part]:
    """What the parts of one shown line are."""
    if not line.strip():
        return []
    if ignored:
        return [Part(0, units(line), Kind.IGNORED)]
    hash_at = _comment_at(line)
    parts = []
    body = line if hash_at is None else line[:hash_at]
    header = _HEADER.match(body)
    setting = _SETTING.match(body)
    if header is not None:
        parts.append(Part(0, units(header[0]), Kind.SECTION))
    elif setting is not None and setting[4]:
        parts.append(Part(setting.start(2), len(setting[2]), Kind.KEY))
        parts.append(Part(setting.end(), units(body[setting.end() :]), Kind.VALUE))
    elif body.strip():
        parts.append(Part(0, units(body), Kind.VALUE))  # a value that goes on from the line before
    if hash_at is not None:
        parts.append(Part(units(body), units(line[hash_at:]), Kind.COMMENT))
    return parts


def _comment_at(line: str) -> int | None:
    """Where the comment of a line begins: at the first # that is neither quoted nor escaped."""
    quoted = escaped = False
    for at, char in enumerate(line):
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char == "#" and not quoted:
            return at
    return None


def units(text: str) -> int:
    """Length as Qt counts it."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2

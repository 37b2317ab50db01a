"""A .wslconfig that is edited without harm: what nobody touched stays as it is, byte for byte.

Owns the edits of the text: one key changes one line, a new key goes to the end of its section, a key that goes back to
its default loses its lines; and what a file must be asked about before it is written (`Caveat`). Must not read or write
files, and must not judge values. Follows the reference wslconfig-keys.json, `safe_writer_rules`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from operator import itemgetter

from kotaro_bridge.domain.wsl.wslconfig import UTF8_BOM, UTF16_LE_BOM, decode, read
from kotaro_bridge.domain.wsl.wslconfig_reading import Entry, Reading, Region, WslConfig
from kotaro_bridge.domain.wsl.wslconfig_values import Value, format_value

UTF16_BE_BOM = b"\xfe\xff"
_UTF16_SAMPLE = 512
_HEADER = re.compile(r"[ \t]*+\[")
_COMMENTS = re.compile(r"(?:[ \t]*+\#[^\n]*+(?:\n|\Z))++")
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
_UNREADABLE = {
    "MessageConfigInvalidKey",
    "MessageConfigInvalidSection",
    "MessageConfigExpected",
    "MessageConfigInvalidEscape",
}
_JUNK_LINES = 20


class Encoding(StrEnum):
    """How the bytes of a file are text."""

    UTF8 = "utf-8"
    UTF8_BOM = "utf-8 with BOM"
    UTF16 = "utf-16"
    UTF16_UNREAD = "utf-16 that WSL cannot read"
    OTHER = "not utf-8"


class Caveat(StrEnum):
    """Why a file is only written with the word of its owner."""

    UTF16 = "utf16"
    UTF16_UNREAD = "utf16_unread"
    NOT_UTF8 = "not_utf8"
    NUL = "nul"
    CONTROL_Z = "control_z"
    JUNK = "junk"


_ENCODING_CAVEATS = {
    Encoding.UTF16: Caveat.UTF16,
    Encoding.UTF16_UNREAD: Caveat.UTF16_UNREAD,
    Encoding.OTHER: Caveat.NOT_UTF8,
}


class Document:
    """A file's content. Never changes: an edit gives another document.

    Args:
        data: its bytes; file: its path as WSL's warnings name it.
    """

    def __init__(self, data: bytes = b"", file: str = ".wslconfig") -> None:
        self.file = file
        self._data = data
        self._bom, self.text, self._tail = decode(data)
        self._reading: Reading | None = None

    @property
    def data(self) -> bytes:
        """Its bytes."""
        return self._data

    @property
    def reading(self) -> Reading:
        """What WSL understands, and where it stands."""
        if self._reading is None:
            self._reading = read(self.text, self.file)
        return self._reading

    @property
    def config(self) -> WslConfig:
        """What WSL understands."""
        return self.reading.config

    @property
    def encoding(self) -> Encoding:
        """Judged by the bytes."""
        if self._bom == UTF16_LE_BOM:
            return Encoding.UTF16
        if self._data.startswith(UTF16_BE_BOM) or _bare_utf16(self._data):
            return Encoding.UTF16_UNREAD
        if not self.text.isascii() and _ESCAPED_BYTE.search(self.text):
            return Encoding.OTHER
        return Encoding.UTF8_BOM if self._bom == UTF8_BOM else Encoding.UTF8

    @property
    def caveats(self) -> tuple[Caveat, ...]:
        """What its owner has to know before it is written; empty for a usual file."""
        encoding, found = self.encoding, []
        if encoding in _ENCODING_CAVEATS:
            found.append(_ENCODING_CAVEATS[encoding])
        if "\0" in self.text and encoding is not Encoding.UTF16_UNREAD:
            found.append(Caveat.NUL)
        if self.reading.end < len(self.text):
            found.append(Caveat.CONTROL_Z)
        unreadable = sum(map(_UNREADABLE.__contains__, map(itemgetter(0), self.config.warnings)))
        understood = len(self.reading.entries) + len(self.reading.repeats)
        if unreadable > _JUNK_LINES and unreadable > understood:
            found.append(Caveat.JUNK)
        return tuple(found)

    def converted(self) -> Document:
        """The same text as UTF-8 without BOM; itself where no encoding fits or none is needed."""
        candidates: Mapping[Encoding, tuple[str, ...]] = {
            Encoding.UTF16: ("utf-16",),
            Encoding.UTF16_UNREAD: ("utf-16",) if self._data.startswith(UTF16_BE_BOM) else (_bare_utf16(self._data),),
            Encoding.UTF8_BOM: ("utf-8-sig",),
            Encoding.OTHER: ("cp932",),
        }
        for name in candidates.get(self.encoding, ()):
            try:
                return Document(self._data.decode(name).encode(), self.file)
            except UnicodeError:
                continue
        return self

    def with_text(self, text: str) -> Document:
        """Another text in the same encoding, with the same mark in front."""
        if text == self.text:
            return self
        if self._bom == UTF16_LE_BOM:
            body = text.encode("utf-16-le", "surrogatepass")
        else:
            body = text.encode("utf-8", "surrogateescape")
        return Document(self._bom + body + self._tail, self.file)

    def entry(self, key: str) -> Entry | None:
        """The line of a key: the one that counts for WSL, else one that it gives up; None if there is none."""
        entries = [entry for entry in self.reading.entries if entry.key == key]
        return next((entry for entry in entries if entry.taken), entries[0] if entries else None)

    def edited(self, key: str, value: Value | None) -> Document:
        """With one key set, or back at its default (None). The same document if that is what it says already.

        Args:
            key: canonical name; value: as `wslconfig_values.typed` gives it.
        """
        if value is None:
            return self._without(key)
        if self.reading.beyond.get(key) == value:
            return self
        raw = format_value(key, value)
        entry = self.entry(key)
        if entry is None:
            return self._with_new(key, raw)
        if self.text[entry.value_end : entry.value_end + 1] == "#":
            raw += " "
        return self.with_text(self.text[: entry.value_start] + raw + self.text[entry.value_end :])

    def with_edits(self, edits: Mapping[str, Value | None]) -> Document:
        """With several keys edited, one after the other."""
        document = self
        for key, value in edits.items():
            document = document.edited(key, value)
        return document

    def _without(self, key: str) -> Document:
        """Without any line of a key: a second one would count if only the first one went."""
        lines = [(start, end) for name, start, end in self.reading.repeats if name == key]
        lines += [(entry.start, entry.end) for entry in self.reading.entries if entry.key == key]
        text = self.text
        for start, end in sorted(lines, reverse=True):
            text = text[:start] + text[end:]
        return self.with_text(text)

    def _with_new(self, key: str, raw: str) -> Document:
        section, _, name = key.partition(".")
        line = f"{name}={raw}"
        region = next((each for each in self.reading.regions if each.good and each.section == section), None)
        if region is not None:
            return self._inserted(self._end_of(region), line)
        end, break_ = self.reading.end, self._line_end(self.reading.end)
        first = next((each for each in self.reading.regions if each.good and each.line), None)
        if first is not None and self._swallows(end):
            return self._inserted(first.start, f"[{section}]{break_}{line}")
        blank = "" if end == 0 or self.text[:end].endswith(break_ * 2) else break_
        return self._inserted(end, f"{blank}[{section}]{break_}{line}")

    def _end_of(self, region: Region) -> int:
        """Behind the last line of a section and the comments that follow it at once; what stands right above the next
        header belongs to that one."""
        if self._swallows(region.end):
            return region.body
        comments = _COMMENTS.match(self.text, region.end, self.reading.end)
        if comments is None or not self._ends_line(region.end):
            return region.end
        return region.end if _HEADER.match(self.text, comments.end()) else comments.end()

    def _swallows(self, at: int) -> bool:
        """True if what is put here would continue the value at the end of the file instead of following it."""
        before = self.text[:at].removesuffix("\n").removesuffix("\r")
        return at == self.reading.end and (len(before) - len(before.rstrip("\\"))) % 2 == 1

    def _ends_line(self, at: int) -> bool:
        """True behind an LF. A line that WSL skips does not end with a lone CR."""
        return self.text[at - 1 : at] == "\n"

    def _line_end(self, at: int) -> str:
        """The line end of the line before a place, else the first one of the file, else that of Windows."""
        before = self.text.rfind("\n", 0, at)
        found = before if before >= 0 else self.text.find("\n")
        return "\r\n" if found < 0 or self.text[:found].endswith("\r") else "\n"

    def _inserted(self, at: int, line: str) -> Document:
        break_ = self._line_end(at)
        if at and not self._ends_line(at):
            return self._put(at, break_ + line + ("" if at == len(self.text) else break_))
        return self._put(at, line + break_)

    def _put(self, at: int, text: str) -> Document:
        return self.with_text(self.text[:at] + text + self.text[at:])


def _bare_utf16(data: bytes) -> str:
    """`utf-16-le` or `utf-16-be` for text of that kind without a mark in front, else an empty string."""
    sample = data[:_UTF16_SAMPLE]
    for name, zeros in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[::2])):
        if len(sample) >= 4 and zeros.count(0) * 2 > len(zeros) and sample.count(0) * 4 < len(sample) * 3:
            return name
    return ""

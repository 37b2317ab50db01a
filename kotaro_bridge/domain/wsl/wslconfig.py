"""What WSL reads from a .wslconfig: the values it takes and the warnings it gives, in its order, and where they stand.

Follows WSL's own parser and not INI customs: the first duplicate wins, `#` is the only comment, escapes, sizes in
upper case, octal integers (reference wslconfig-keys.json, `parser` and `parser_test_vectors`). Must not read files, and
must not judge whether a value is wise (`wslconfig_advice.py`) or change anything (`wslconfig_document.py`).

One regular expression takes every line, and comments and junk a block at a time: a file of 1 MB is read in well under
100 ms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import repeat

from kotaro_bridge.domain.wsl.wslconfig_keys import ENUM_WORDS, KEY_TYPES, KeyType
from kotaro_bridge.domain.wsl.wslconfig_reading import Entry, Reading, Region, Warning_, WslConfig
from kotaro_bridge.domain.wsl.wslconfig_values import KEYS_OF, Value, read_value

UTF8_BOM, UTF16_LE_BOM = b"\xef\xbb\xbf", b"\xff\xfe"

_NAME = "[A-Za-z][A-Za-z0-9]*+"
_BLANKS, _LEAD = r"[ \t]*+", r"[ \t\r]*+"
"""A CR that ends no line is a blank where a line begins."""
_REST, _COMMENT, _END = r"[^\n]*+(?:\n|\Z)", r"(?:\#[^\n]*+)?", r"(?:\r?\n|\r|\Z)"
_ESCAPE = r'\\(?:[\\"bnt]|\r?\n)'
_INSIDE = rf'(?:[^\r\n"\\]++|{_ESCAPE})*+'
_WELL = rf'(?:[^\r\n"\\#]++|{_ESCAPE}|"{_INSIDE}")*+'


def _run(line: str) -> str:
    """Such lines, one after the other: a file of nothing else is taken at once."""
    return rf"({line}(?:{_LEAD}{line})*+)"


_LINE = re.compile(
    rf"{_LEAD}(?:"
    rf'({_NAME}){_BLANKS}={_BLANKS}([^\r\n"\\#]*+){_COMMENT}{_END}'
    rf"|\[({_NAME})\]{_BLANKS}{_COMMENT}{_END}"
    rf"|{_COMMENT}(?:\n(?:{_LEAD}{_COMMENT}\n)*+|\Z)|"
    + _run(rf"[^\[A-Za-z \t\r\n#]{_REST}")
    + rf"|({_NAME}){_BLANKS}={_BLANKS}({_WELL})(?:{_COMMENT}{_END}"
    rf'|((?:"{_INSIDE})?+(?:\\([^\n]|\Z)|(?=[\r\n]|\Z))[^\n]*+)(?:\n|\Z))|'
    + _run(rf"{_NAME}{_BLANKS}(?!=){_REST}")
    + "|"
    + _run(rf"\[(?![A-Za-z]){_REST}")
    + rf"|(\[({_NAME})(\])?{_REST}))"
)
"""Every line is one of these: (1) key and (2) value without quotes and escapes; (3) a header; comments and empty lines;
(4) lines that begin with neither letter nor bracket; (5) key and (6) well-formed value, which may go on in the next
lines, or (7) ends badly: with (8) a bad escape, or else an open quote; (9) names without an equals sign; (10)
brackets without a name; (11) a header with a good (12) name that goes wrong before or behind its (13) bracket."""
_PLAIN, _HEADER, _NO_KEY, _RICH, _BROKEN, _NO_EQUALS, _NO_NAME = 2, 3, 4, 6, 7, 9, 10  # the last group that closed
_BAD_ESCAPE, _NAMED, _BRACKET = 8, 12, 13
_SAID_OF = {
    _NO_KEY: ("MessageConfigInvalidKey",),
    _NO_EQUALS: ("MessageConfigExpected", "'='"),
    _NO_NAME: ("MessageConfigInvalidSection",),
}
_REPLACED = re.compile(r'"|\\(\r?\n|.)', re.DOTALL)
_ESCAPED = {"\\": "\\", '"': '"', "b": "\b", "n": "\n", "t": "\t"}
_BEHIND = re.compile(r"[ \t]+#")
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Halves of UTF-16 pairs, other than those that stand for a byte."""

_NONE: Mapping[str, str] = {}
_COMPLAINTS = {
    KeyType.BOOL: "MessageConfigInvalidBoolean",
    KeyType.INT: "MessageConfigInvalidInteger",
    KeyType.LIST: "MessageConfigInvalidInteger",
    KeyType.SIZE: "MessageInvalidNumberString",
    KeyType.IPV4: "MessageConfigInvalidIp",
}


def parse(data: bytes, file: str = ".wslconfig") -> WslConfig:
    """Read a file as WSL does.

    Args:
        data: the file's bytes; UTF-8 with or without BOM, or UTF-16LE with BOM.
        file: its path as the warnings name it.
    """
    return read(decode(data)[1], file).config


def decode(data: bytes) -> tuple[bytes, str, bytes]:
    """(BOM, text, half a UTF-16 unit at the end), without loss: bytes that are not UTF-8 become lone surrogates."""
    if data.startswith(UTF16_LE_BOM):
        whole = len(data) - len(data) % 2
        return UTF16_LE_BOM, data[2:whole].decode("utf-16-le", "surrogatepass"), data[whole:]
    bom = UTF8_BOM if data.startswith(UTF8_BOM) else b""
    return bom, data[len(bom) :].decode("utf-8", "surrogateescape"), b""


def read(text: str, file: str = ".wslconfig") -> Reading:
    """Read a text as WSL does. `file`: its path as the warnings name it."""
    return _Reader(text, file).read()


def visible(text: str) -> str:
    """A text in which bytes that mean nothing are U+FFFD."""
    return _LONE.sub("\ufffd", text).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _low_bytes(text: str) -> str:
    """A value after WSL has cut each UTF-16 unit to its low 8 bits and read the result as UTF-8 up to a NUL."""
    if text.isascii() and "\0" not in text:
        return text
    return visible(text).encode("utf-16-le")[::2].split(b"\0")[0].decode("utf-8", "replace")


def _plain(match: re.Match[str]) -> str:
    """What stands for a quote or an escape in a value: quotes and line ends go."""
    return _ESCAPED.get(match[1] or "", "")


class _Reader:
    """Goes through the lines."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        stop = text.find("\x1a")
        self._end = len(text) if stop < 0 else stop
        self._values: dict[str, Value] = {}
        self._warnings: list[Warning_] = []
        self._config: WslConfig | None = None
        self._first: dict[str, tuple[str, str]] = {}
        self._entries: list[Entry] = []
        self._repeats: list[tuple[str, int, int]] = []
        self._regions: list[Region] = []
        self._opened: tuple[str, int, str, bool, int, int] | None = ("", 0, "", True, 0, 0)
        self._met: set[str] = set()
        self._section = self._prefix = ""
        self._section_size = 0
        self._good = True
        self._spoiled: str | None = None
        self._keys: Mapping[str, str] = _NONE

    def read(self) -> Reading:
        """Everything that the text says."""
        self._close_region(self._take_lines())
        config = self._config or WslConfig(self._values, tuple(self._warnings))
        entries, repeats = tuple(self._entries), tuple(self._repeats)
        return Reading(config, self._values, entries, repeats, tuple(self._regions), self._end)

    def _take_lines(self) -> int:
        """Take them all; gives the end of the last one that is no comment."""
        text, file, warnings, line = self._text, self._file, self._warnings, 1
        content: re.Match[str] | None = None
        for match in _LINE.finditer(text, 0, self._end):
            kind = match.lastindex
            if kind is None:
                line += text.count("\n", *match.span())
                continue
            if kind in (_PLAIN, _RICH):
                if kind == _RICH:
                    line += match[_RICH].count("\n")
                word = match[kind - 1]
                key = self._keys.get(word.lower())
                if key is None:
                    warnings.append(("MessageConfigUnknownKey", self._shown(word), file, str(line)))
                elif key in self._first:
                    first, first_line = self._first[key]
                    name = self._prefix + word
                    warnings.append(("MessageConfigKeyDuplicated", name, file, str(line), first, file, first_line))
                    self._repeats.append((key, *match.span()))
                else:
                    self._take(key, match, kind, line)
                line += 1
            elif kind == _BROKEN:
                line += text.count("\n", match.start(_RICH), match.end(_BROKEN))
                self._give_up(match, line)
                line += 1
            elif kind in _SAID_OF:
                count = text.count("\n", *match.span()) + (not match[0].endswith("\n"))
                said = map(repeat, (*_SAID_OF[kind], file))
                warnings.extend(zip(*said, map(str, range(line, line + count)), strict=False))
                line += count
            else:
                good = kind == _HEADER
                name = match[_HEADER if good else _NAMED]
                if not good:
                    expected = "']'" if match[_BRACKET] is None else "' ' or '\\n'"
                    warnings.append(("MessageConfigExpected", expected, file, str(line)))
                if name != self._section or good != self._good:
                    self._close_region(content.end() if content else 0)
                    self._open_region(name, good, line, match)
                line += 1
            content = match
        return content.end() if content else 0

    def _shown(self, word: str) -> str:
        """A key's full name as WSL prints it."""
        return self._prefix + word if self._spoiled is None else self._spoiled

    def _open_region(self, name: str, good: bool, line: int, match: re.Match[str]) -> None:
        """Another header. A bad one leaves its name behind at the length of the last good one, so that keys below it
        get a prefix that no key has ("a section spoils what follows")."""
        if good:
            self._section_size = len(name)
        prefix = name[: self._section_size]
        self._section, self._good = name, good
        # A name shorter than the last good one is filled with NULs, at which the whole key's name ends.
        self._spoiled = prefix if len(prefix) < self._section_size else None
        self._prefix = f"{prefix}." if prefix else ""
        section = prefix.lower() if self._spoiled is None else ""
        self._keys = KEYS_OF.get(section, _NONE)
        if good and section in self._met:
            self._opened = None
        else:
            self._opened = (name, line, section, good, *match.span())
            if good and self._keys:
                self._met.add(section)

    def _close_region(self, end: int) -> None:
        if self._opened is not None:
            self._regions.append(Region(*self._opened, end))

    def _give_up(self, match: re.Match[str], line: int) -> None:
        """A value that WSL cannot read to its end."""
        escaped = match[_BAD_ESCAPE]
        if escaped is None:
            self._warnings.append(("MessageConfigExpected", '"', self._file, str(line)))
        else:
            shown = (escaped if escaped.isascii() else visible(escaped)) or "\uffff"
            self._warnings.append(("MessageConfigInvalidEscape", shown, self._file, str(line)))
        key = self._keys.get(match[_RICH - 1].lower())
        if key is not None:
            start = match.start(_RICH)
            value = self._text[start : match.end(_BROKEN)]
            # Of a continued value all lines belong together: a rest of it would become a line of its own.
            if "#" in value and "\n" not in value:
                value = _BEHIND.split(value, maxsplit=1)[0]
            self._entries.append(Entry(key, line, *match.span(), start, start + len(value.rstrip(" \t\r\n")), False))

    def _take(self, key: str, match: re.Match[str], kind: int, line: int) -> None:
        """Take a key's first value."""
        name, raw, start = self._prefix + match[kind - 1], match[kind].rstrip(" \t"), match.start(kind)
        self._first[key] = (name, str(line))
        self._entries.append(Entry(key, line, match.start(), match.end(), start, start + len(raw), True))
        text = _low_bytes(raw if kind == _PLAIN else _REPLACED.sub(_plain, raw))
        value, complaints = read_value(key, text)
        if value is not None:
            self._values[key] = value
        if complaints:
            self._complain(key, complaints, text, name, str(line))

    def _complain(self, key: str, times: int, *where: str) -> None:
        kind = KEY_TYPES[key]
        text, name, line = where
        if kind is KeyType.MAC:
            fatal = ("MessageConfigMacAddress", text, name, self._file, line)
            self._config = self._config or WslConfig(dict(self._values), tuple(self._warnings), fatal)
        elif kind is KeyType.ENUM:
            words = ", ".join(sorted(ENUM_WORDS[key]))
            self._warnings.append(("MessageConfigInvalidEnum", text, name, self._file, line, words))
        else:
            self._warnings.extend([(_COMPLAINTS[kind], text, name, self._file, line)] * times)

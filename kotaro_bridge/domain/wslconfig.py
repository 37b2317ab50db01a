"""What WSL reads from a .wslconfig: the values it takes and the warnings it gives, in its order, and where they stand.

Follows WSL's own parser and not INI customs: the first duplicate wins, `#` is the only comment, escapes, sizes in
upper case, octal integers (reference wslconfig-keys.json, `parser` and `parser_test_vectors`). Must not read files, and
must not judge whether a value is wise (`wslconfig_advice.py`) or change anything (`wslconfig_document.py`).

One regular expression takes a whole usual line, or a whole block of comments: a file of 1 MB is read in well under
100 ms. Only lines that it does not take go through the cursor functions.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from kotaro_bridge.domain.wslconfig_keys import ENUM_WORDS, KEY_TYPES, KeyType
from kotaro_bridge.domain.wslconfig_reading import Entry, Reading, Region, Warning_, WslConfig
from kotaro_bridge.domain.wslconfig_values import Value, canonical, read_value

UTF8_BOM, UTF16_LE_BOM = b"\xef\xbb\xbf", b"\xff\xfe"

_END = r"(?:\r?\n|\r|\Z)"
_SIMPLE = r'(?:[^\r\n"\\]|\\[\\"bnt])*+'
_WELL = rf'(?:[^\r\n"\\#]|\\[\\"bnt]|"{_SIMPLE}")*+'
_PLAIN = re.compile(
    r"[ \t]*+(?:"
    rf'([A-Za-z][A-Za-z0-9]*+)[ \t]*+=[ \t]*+([^\r\n"\\#]*+)(?:\#[^\n]*+)?{_END}'
    rf"|\[([A-Za-z][A-Za-z0-9]*+)\][ \t]*+(?:\#[^\n]*+)?{_END}"
    r"|(?:\#[^\n]*+)?\r?\n(?:[ \t]*+(?:\#[^\n]*+)?\r?\n)*+"
    rf"|(?:\#[^\n]*+)?{_END}"
    r"|([^\[A-Za-z \t\r\n\#][^\n]*+(?:\n|\Z))"
    rf"|([A-Za-z][A-Za-z0-9]*+)[ \t]*+=[ \t]*+({_WELL})(?:\#[^\n]*+)?{_END}"
    rf'|([A-Za-z][A-Za-z0-9]*+)[ \t]*+=[ \t]*+({_WELL}(?:"{_SIMPLE})?+\\([ -~])[^\n]*+)(?:\n|\Z))'
    r"|()"
)
"""A usual line: (1) key and (2) value without quotes and escapes, (3) a header, a block of comments or empty lines,
(4) one that is none, (5) key and (6) well-formed value on one line, (7) key and (8) value with (9) a bad escape; or
(10) nothing, where the line is not usual."""
_KEY, _HEADER, _NONE, _RICH, _BROKEN, _UNUSUAL = 2, 3, 4, 6, 8, 10  # the last group that closed

_ESCAPE = r'\\(?:[\\"bnt]|\r?\n|\r)'
_INSIDE = rf'(?:[^\r\n"\\]|{_ESCAPE})*+'
_VALUE = re.compile(rf'(?:[^\r\n"\\#]|{_ESCAPE}|"{_INSIDE}")*+("{_INSIDE})?+')
"""As much of a value as is well formed; (1) is a quote that is not closed."""
_REPLACED = re.compile(r'"|\\(\r?\n|.)', re.DOTALL)
_ESCAPED = {"\\": "\\", '"': '"', "b": "\b", "n": "\n", "t": "\t"}
_CONTINUED = re.compile(r"\\\r?\n")
_COMMENT = re.compile(r"[ \t]+#")
_NAME = re.compile(r"[A-Za-z0-9]*+")
_BLANKS = re.compile(r"[ \t]*+")
_LINE_END = re.compile(r"\r?\n|\r|\Z")
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Halves of UTF-16 pairs, other than those that stand for a byte."""

_SECTIONS = frozenset(key.partition(".")[0] for key in KEY_TYPES)
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
    reader = _Reader(text, file)
    reader.run()
    return reader.reading()


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


_Said: TypeAlias = tuple[str, str, str, tuple[str, ...]]
"""What is said of a word from its second time on: message, full name, key (empty if unknown), the first one's place."""


class _Reader:
    """A cursor over the text."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._at = 0
        self._line = 1
        stop = text.find("\x1a")
        self._end = len(text) if stop < 0 else stop
        self._values: dict[str, Value] = {}
        self._warnings: list[Warning_] = []
        self._config: WslConfig | None = None
        self._first: dict[str, tuple[str, str]] = {}
        self._said: dict[str, _Said] = {}
        self._said_below: dict[str, dict[str, _Said]] = {}
        self._entries: list[Entry] = []
        self._repeats: list[tuple[str, int, int]] = []
        self._regions: list[Region] = []
        self._opened: tuple[str, int, str, bool, int, int] | None = ("", 0, "", True, 0, 0)
        self._met: set[str] = set()
        self._content_end = 0
        self._section = ""
        self._section_size = 0
        self._prefix = ""
        self._spoiled: str | None = None

    def reading(self) -> Reading:
        config = self._config or WslConfig(self._values, tuple(self._warnings))
        self._close_region()
        entries, repeats = tuple(self._entries), tuple(self._repeats)
        return Reading(config, self._values, entries, repeats, tuple(self._regions), self._end)

    def run(self) -> None:
        while self._at < self._end:
            self._usual()
            if self._at < self._end:
                self._unusual(self._at)
                self._content_end = self._at

    def _usual(self) -> None:
        """Take usual lines as long as there are any. What is said of a word again and again is looked up."""
        text, file, line = self._text, self._file, self._line
        warnings, repeats, said_of = self._warnings, self._repeats, self._said
        content: re.Match[str] | None = None
        for match in _PLAIN.finditer(text, self._at, self._end):
            group = match.lastindex
            if group in (_KEY, _RICH):
                content = match
                if said := said_of.get(match[group - 1]):
                    message, name, key, first = said
                    warnings.append((message, name, file, str(line), *first))
                    if key:
                        repeats.append((key, *match.span()))
                else:
                    self._line, self._at = line, match.end()
                    self._value(match, group)
                line += 1
            elif group == _NONE:
                content = match
                warnings.append(("MessageConfigInvalidKey", file, str(line)))
                line += 1
            elif group == _BROKEN:
                content = match
                warnings.append(("MessageConfigInvalidEscape", match[9], file, str(line)))
                self._keep_given_up(match[7], line, match.start(), match.end(), match.start(8))
                line += 1
            elif group == _HEADER and self._opened is None and match[3] == self._section:
                content = match
                line += 1
            elif group is None:
                line += 1 + text.count("\n", match.start(), match.end() - 1)
            else:
                if content is not None:
                    self._content_end = content.end()
                if group == _UNUSUAL:
                    self._line, self._at = line, match.start()
                    return
                self._line, self._at = line, match.end()
                self._header(match)
                content, said_of = None, self._said
                line += 1
        if content is not None:
            self._content_end = content.end()
        self._at = self._end

    def _value(self, match: re.Match[str], group: int) -> None:
        if new := self._new_key(match[group - 1], match.start()):
            raw, start = match[group].rstrip(" \t"), match.start(group)
            text = raw if group == _KEY else _REPLACED.sub(_plain, raw)
            self._take(*new, text, match.start(), start, start + len(raw))

    def _header(self, match: re.Match[str]) -> None:
        self._section, self._section_size = match[3], len(match[3])
        self._open_region(match[3], match.start(), self._line, good=True)

    def _unusual(self, start: int) -> None:
        """A header that is wrong, or a value that is open or goes on in the next line."""
        self._skip(_BLANKS)
        if self._text[self._at] == "[":
            self._at += 1
            self._bad_header(start)
        else:
            self._rich_value(start)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        """Step over what the pattern takes from here, which may be nothing."""
        match = next(pattern.finditer(self._text, self._at, self._end))
        self._at = match.end()
        return match[0]

    def _warn(self, message: str, *values: str) -> None:
        self._warnings.append((message, *values, self._file, str(self._line)))

    def _bad(self, message: str, *values: str) -> None:
        """Warn and give the line up: on to the next LF, whatever the line ends of this file are."""
        self._warn(message, *values)
        found = self._text.find("\n", self._at, self._end)
        self._at = self._end if found < 0 else found + 1
        self._line += 1

    def _bad_header(self, start: int) -> None:
        """A bad header leaves its name behind at the length of the last good one, so that keys below it get a prefix
        that no key has ("a section spoils what follows"). One that does not start with a letter changes nothing."""
        line = self._line
        name = self._skip(_NAME)
        if not name[:1].isalpha():
            self._bad("MessageConfigInvalidSection")
            return
        self._section = name
        if self._text[self._at : self._at + 1] == "]" and self._at < self._end:
            self._at += 1
            self._skip(_BLANKS)
            self._bad("MessageConfigExpected", "' ' or '\\n'")
        else:
            self._bad("MessageConfigExpected", "']'")
        self._open_region(name, start, line, good=False)

    def _open_region(self, name: str, start: int, line: int, *, good: bool) -> None:
        self._close_region()
        prefix = self._section[: self._section_size]
        # A name shorter than the last good one is filled with NULs, at which the whole key's name ends.
        self._spoiled = prefix if len(prefix) < self._section_size else None
        self._prefix = f"{prefix}." if prefix else ""
        self._said = self._said_below.setdefault(self._section if good else "", {})
        if not good:
            self._said.clear()
        section = prefix.lower() if self._spoiled is None else ""
        again = good and section in self._met
        self._opened = None if again else (name, line, section, good, start, self._at)
        self._content_end = self._at
        if good and section in _SECTIONS:
            self._met.add(section)

    def _close_region(self) -> None:
        if self._opened is not None:
            self._regions.append(Region(*self._opened, self._content_end))

    def _rich_value(self, start: int) -> None:
        """`key=value` with quotes or escapes, or without its equals sign."""
        name = self._skip(_NAME)
        self._skip(_BLANKS)
        if self._at >= self._end or self._text[self._at] != "=":
            self._bad("MessageConfigExpected", "'='")
            return
        self._at += 1
        self._skip(_BLANKS)
        value_start = self._at
        match = next(_VALUE.finditer(self._text, self._at, self._end))
        raw, self._at = match[0], match.end()
        self._line += len(_CONTINUED.findall(raw))
        following = self._text[self._at : min(self._at + 1, self._end)]
        if following == "\\":
            self._at += 1
            self._give_up(name, start, value_start, "MessageConfigInvalidEscape", self._escaped())
        elif match[1] is not None:
            self._give_up(name, start, value_start, "MessageConfigExpected", '"')
        else:
            if following == "#":
                found = self._text.find("\n", self._at, self._end)
                self._at = self._end if found < 0 else found
            self._skip(_LINE_END)
            if new := self._new_key(name, start):
                raw = raw.rstrip(" \t")
                self._take(*new, _REPLACED.sub(_plain, raw), start, value_start, value_start + len(raw))
            self._line += 1

    def _escaped(self) -> str:
        """The character behind a backslash; U+FFFF at the end of the file."""
        return visible(self._text[self._at]) if self._at < self._end else "\uffff"

    def _give_up(self, name: str, start: int, value_start: int, message: str, detail: str) -> None:
        """A value that WSL cannot read to its end."""
        line = self._line
        self._bad(message, detail)
        self._keep_given_up(name, line, start, self._at, value_start)

    def _keep_given_up(self, name: str, line: int, start: int, end: int, value_start: int) -> None:
        key = self._named(name)[1]
        if key is not None:
            value = self._text[value_start:end].rstrip("\r\n")
            # Of a continued value all lines belong together: a rest of it would become a line of its own.
            if "\r" not in value and "\n" not in value:
                value = _COMMENT.split(value, maxsplit=1)[0]
            value_end = value_start + len(value.rstrip(" \t"))
            self._entries.append(Entry(key, line, start, end, value_start, value_end, False))

    def _named(self, word: str) -> tuple[str, str | None]:
        """The full name as WSL prints it, and the key that it is."""
        name = self._prefix + word if self._spoiled is None else self._spoiled
        return name, canonical(name)

    def _new_key(self, word: str, start: int) -> tuple[str, str] | None:
        """Full name and key of a key that comes for the first time; None after a warning: WSL does not know it, or it
        came before. The first one counts, valid or not."""
        name, key = self._named(word)
        if key is None:
            said: _Said = ("MessageConfigUnknownKey", name, "", ())
        elif key in self._first:
            first_name, first_line = self._first[key]
            said = ("MessageConfigKeyDuplicated", name, key, (first_name, self._file, first_line))
            self._repeats.append((key, start, self._at))
        else:
            return name, key
        self._said[word] = said
        self._warnings.append((said[0], name, self._file, str(self._line), *said[3]))
        return None

    def _take(self, name: str, key: str, raw: str, start: int, value_start: int, value_end: int) -> None:
        """Take a key's first value."""
        line = str(self._line)
        self._first[key] = (name, line)
        self._entries.append(Entry(key, self._line, start, self._at, value_start, value_end, True))
        text = _low_bytes(raw)
        value, complaints = read_value(key, text)
        if value is not None:
            self._values[key] = value
        if complaints:
            self._complain(key, complaints, text, name, line)

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

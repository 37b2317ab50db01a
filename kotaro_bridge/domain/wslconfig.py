"""What WSL reads from a .wslconfig: the values it takes and the warnings it gives, in its order.

Follows WSL's own parser and not INI customs: the first duplicate wins, `#` is the only comment, escapes, sizes in
upper case, octal integers (reference wslconfig-keys.json, `parser`, `types` and `parser_test_vectors`). Must not read
files and must not judge whether a value is wise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from kotaro_bridge.domain.wslconfig_keys import ALIASES, ENUM_WORDS, KEY_TYPES, KeyType

Value: TypeAlias = bool | int | str | tuple[int, ...]
Warning_: TypeAlias = tuple[str, ...]
"""Message id of WSL and its values in call order, all as text."""

_BLANKS = " \t"
_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1
_SIZE_LIMIT = 2**64
_SIZE = re.compile(r"(0|[ \t]*[+-]?0*[1-9][0-9]*)(?:([KMGT]?)B?)\Z")
_SIZE_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_INT = re.compile(r"[ \t\n\v\f\r]*([+-]?)(?:0[xX]([0-9a-fA-F]+)|0([0-7]*)|([1-9][0-9]*))\Z")
_MAC = re.compile(r"[0-9a-fA-F]{2}(?:(?::[0-9a-fA-F]{2}){5}|(?:-[0-9a-fA-F]{2}){5})\Z")
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!\Z)|\Z)){4}", re.ASCII)
_PORT = re.compile(r"[ \t]*[+-]?[0-9]+", re.ASCII)
_ESCAPES = {"\\": "\\", '"': '"', "b": "\b", "n": "\n", "t": "\t", "\r": "", "\n": ""}
_CANONICAL = {name.lower(): name for name in KEY_TYPES} | {alias.lower(): name for alias, name in ALIASES.items()}


@dataclass(frozen=True, slots=True)
class WslConfig:
    """One file as WSL understands it.

    Args:
        values: keys that are validly set, under canonical names and enum spelling; sizes in bytes.
        warnings: what wsl.exe prints when it creates the VM with this file.
        fatal: the one message that keeps the VM from starting (a bad MAC address), empty if none; WSL reads no further.
    """

    values: Mapping[str, Value]
    warnings: tuple[Warning_, ...]
    fatal: Warning_ = ()


def parse(data: bytes, file: str = ".wslconfig") -> WslConfig:
    """Read a file as WSL does.

    Args:
        data: the file's bytes; UTF-8 with or without BOM, or UTF-16LE with BOM.
        file: its path as the warnings name it.
    """
    parser = _Parser(_decode(data), file)
    parser.run()
    return WslConfig(parser.values, tuple(parser.warnings), parser.fatal)


def parse_size(text: str) -> int | None:
    """Bytes of a size as WSL reads it, None if it is not one: upper-case suffix, wraps modulo 2^64."""
    match = _SIZE.match(text)
    if match is None:
        return None
    number = min(int(match[1]), _SIZE_LIMIT - 1)
    return number * _SIZE_FACTORS[match[2]] % _SIZE_LIMIT


def parse_int(text: str) -> int | None:
    """An integer as C's strtol with base 0 reads it on Windows: hexadecimal, leading-0 octal, saturating at 32 bits."""
    match = _INT.match(text)
    if match is None:
        return None
    sign, hexadecimal, octal, decimal = match.groups()
    if hexadecimal is not None:
        number = int(hexadecimal, 16)
    else:
        number = int(decimal) if decimal is not None else int(octal or "0", 8)
    return min(max(-number if sign == "-" else number, _INT_MIN), _INT_MAX)


def _decode(data: bytes) -> str:
    """The text as the C runtime's text mode with `ccs=UTF-8` gives it; Ctrl-Z ends it."""
    if data.startswith(b"\xff\xfe"):
        text = data[2:].decode("utf-16-le", "replace")
    else:
        text = data.decode("utf-8-sig", "replace")
    return text.replace("\r\n", "\n").split("\x1a")[0]


def _low_bytes(text: str) -> str:
    """A value after WSL has cut each UTF-16 unit to its low 8 bits and read the result as UTF-8 up to a NUL."""
    return text.encode("utf-16-le", "surrogatepass")[::2].split(b"\0")[0].decode("utf-8", "replace")


def _is_letter(char: str) -> bool:
    return char.isascii() and char.isalpha()


def _is_name(char: str) -> bool:
    return char.isascii() and char.isalnum()


class _Parser:
    """A cursor over the text; `_section` is kept with its flaw (see `_header`)."""

    def __init__(self, text: str, file: str) -> None:
        self.values: dict[str, Value] = {}
        self.warnings: list[Warning_] = []
        self.fatal: Warning_ = ()
        self._text = text
        self._file = file
        self._at = 0
        self._line = 1
        self._section = ""
        self._section_size = 0
        self._first: dict[str, tuple[str, int]] = {}

    def run(self) -> None:
        while not self.fatal and self._at < len(self._text):
            self._skip(_BLANKS)
            char = self._peek()
            if char == "#":
                self._skip_line()
            elif char == "[":
                self._at += 1
                self._header()
            elif _is_letter(char):
                self._key_value()
            elif char not in ("", "\r", "\n"):
                self._bad("MessageConfigInvalidKey")
            self._end_line()

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, chars: str) -> None:
        while self._at < len(self._text) and self._text[self._at] in chars:
            self._at += 1

    def _skip_line(self) -> None:
        end = self._text.find("\n", self._at)
        self._at = len(self._text) if end < 0 else end

    def _end_line(self) -> None:
        """Step over the line end; a lone CR ends a line like LF but is not counted where the line was empty."""
        if self._peek() in ("\r", "\n"):
            self._at += 1
            self._line += 1

    def _word(self) -> str:
        start = self._at
        while _is_name(self._peek()):
            self._at += 1
        return self._text[start : self._at]

    def _warn(self, message: str, *values: str) -> None:
        self.warnings.append((message, *values, self._file, str(self._line)))

    def _bad(self, message: str, *values: str) -> None:
        """Warn and give the line up."""
        self._warn(message, *values)
        self._skip_line()

    def _header(self) -> None:
        """`[name]`. A bad header leaves its name behind at the length of the last good one, so that keys below it get a
        prefix that no key has ("a section spoils what follows")."""
        if not _is_letter(self._peek()):
            self._bad("MessageConfigInvalidSection")
            return
        self._section = self._word()
        if self._peek() != "]":
            self._bad("MessageConfigExpected", "']'")
            return
        self._at += 1
        self._skip(_BLANKS)
        if self._peek() not in ("", "\r", "\n", "#"):
            self._bad("MessageConfigExpected", "' ' or '\\n'")
            return
        self._section_size = len(self._section)
        if self._peek() == "#":
            self._skip_line()

    def _key_value(self) -> None:
        prefix = self._section[: self._section_size].ljust(self._section_size, "\0")
        name = (prefix + "." if prefix else "") + self._word()
        self._skip(_BLANKS)
        if self._peek() != "=":
            self._bad("MessageConfigExpected", "'='")
            return
        self._at += 1
        self._skip(_BLANKS)
        value = self._value()
        if value is not None:
            self._set(name.split("\0")[0], _low_bytes(value))

    def _value(self) -> str | None:
        """The value without quotes, escapes and trailing blanks; None when the line is given up."""
        out: list[str] = []
        kept = 0
        quoted = False
        while (char := self._peek()) not in ("", "\r", "\n"):
            if char == "#" and not quoted:
                break
            self._at += 1
            if char == '"':
                quoted = not quoted
            elif char == "\\":
                escaped = self._peek()
                if escaped not in _ESCAPES or not escaped:
                    self._bad("MessageConfigInvalidEscape", escaped or "\uffff")
                    return None
                self._at += 1
                self._line += escaped == "\n"
                out.append(_ESCAPES[escaped])
            else:
                out.append(char)
            if char not in _BLANKS:
                kept = len(out)
        if quoted:
            self._bad("MessageConfigExpected", '"')
            return None
        if self._peek() == "#":
            self._skip_line()
        return "".join(out[:kept])

    def _set(self, name: str, text: str) -> None:
        """Take a key's first value; later ones only warn, whether the first was valid or not."""
        key = _CANONICAL.get(name.lower())
        if key is None:
            self._warn("MessageConfigUnknownKey", name)
        elif key in self._first:
            first_name, first_line = self._first[key]
            values = (name, self._file, str(self._line), first_name, self._file, str(first_line))
            self.warnings.append(("MessageConfigKeyDuplicated", *values))
        else:
            self._first[key] = (name, self._line)
            value = self._typed(key, name, text)
            if value is not None:
                self.values[key] = value

    def _typed(self, key: str, name: str, text: str) -> Value | None:
        """The value by the key's type; None after a warning."""
        match KEY_TYPES[key]:
            case KeyType.BOOL:
                return self._checked(_bool(text), "MessageConfigInvalidBoolean", text, name)
            case KeyType.INT:
                return self._checked(parse_int(text), "MessageConfigInvalidInteger", text, name)
            case KeyType.SIZE:
                return self._checked(parse_size(text), "MessageInvalidNumberString", text, name)
            case KeyType.ENUM:
                return self._enum(key, name, text)
            case KeyType.IPV4:
                return self._checked(text if _IPV4.match(text) else None, "MessageConfigInvalidIp", text, name)
            case KeyType.MAC:
                if _MAC.match(text):
                    return text
                self.fatal = ("MessageConfigMacAddress", text, name, self._file, str(self._line))
                return None
            case KeyType.LIST if key == "experimental.ignoredPorts":
                return self._ports(name, text)
            case _:
                return text or None  # an empty text is as good as no line

    def _checked(self, value: Value | None, message: str, text: str, name: str) -> Value | None:
        if value is None:
            self._warn(message, text, name)
        return value

    def _enum(self, key: str, name: str, text: str) -> str | None:
        words = ENUM_WORDS[key]
        for word in words:
            if word.lower() == text.lower():
                return word
        where = (text, name, self._file, str(self._line))
        self.warnings.append(("MessageConfigInvalidEnum", *where, ", ".join(sorted(words))))
        return None

    def _ports(self, name: str, text: str) -> tuple[int, ...] | None:
        """Good entries; each bad one warns with the whole list. Text after the digits is ignored."""
        ports: list[int] = []
        for entry in text.split(",") if text else []:
            match = _PORT.match(entry)
            if match is not None and 1 <= int(match[0]) <= 65535:
                ports.append(int(match[0]))
            else:
                self._warn("MessageConfigInvalidInteger", text, name)
        return tuple(ports) or None


def _bool(text: str) -> bool | None:
    return {"true": True, "1": True, "false": False, "0": False}.get(text.lower())

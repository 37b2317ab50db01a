"""Values of .wslconfig: what WSL takes a text for, how a value is written so that WSL takes it for the same, and what a
text that WSL refuses was probably meant to be.

Owns the rules by type (reference wslconfig-keys.json, `types`). Must not know lines and sections (`wslconfig.py`) and
must not judge whether a value is wise (`wslconfig_advice.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.units import GIB, KIB, MIB
from kotaro_bridge.domain.wsl.wslconfig_keys import ALIASES, ENUM_WORDS, KEY_TYPES, KeyType

Value: TypeAlias = bool | int | str | tuple[int, ...]
"""A setting; sizes in bytes, enum words in canonical spelling."""

INT_MIN, INT_MAX = -(2**31), 2**31 - 1
_SIZE_LIMIT = 2**64
_SIZE_DIGITS, _INT_DIGITS, _PORT_DIGITS = 20, 10, 5
_SIZE = re.compile(r"(?:(0)|[ \t]*([+-]?)0*([1-9][0-9]*))([KMGT]?)B?\Z")
_SIZE_FACTORS = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": 1 << 40}
_INT = re.compile(r"[ \t\n\v\f\r]*([+-]?)(?:0[xX]([0-9a-fA-F]+)|0([0-7]*)|([1-9][0-9]*))\Z")
_MAC = re.compile(r"[0-9a-fA-F]{2}(?:(?::[0-9a-fA-F]{2}){5}|(?:-[0-9a-fA-F]{2}){5})\Z")
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!\Z)|\Z)){4}", re.ASCII)
_PORT = re.compile(r"[ \t]*([+-]?)0*([0-9]*)", re.ASCII)
_BOOLS = {"true": True, "1": True, "false": False, "0": False}
_CANONICAL = {name.lower(): name for name in KEY_TYPES} | {alias.lower(): name for alias, name in ALIASES.items()}
KEYS_OF: dict[str, dict[str, str]] = {}
"""Of a section the words that are keys in it, all in lower case, with their canonical names."""
for _name, _key in _CANONICAL.items():
    KEYS_OF.setdefault(_name.partition(".")[0], {})[_name.partition(".")[2]] = _key
_BARE = {name.partition(".")[2].lower(): name for name in KEY_TYPES}

# What people write and WSL does not take.
_MEANT_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([kmgt]?)(?:i?b)?\Z", re.ASCII | re.IGNORECASE)
_MEANT_INT = re.compile(r"([+-]?[0-9]{1,9})(?:\.0+)?\s*([a-z]*)\Z", re.ASCII | re.IGNORECASE)
_MEANT_BOOL = {"yes": "true", "on": "true", "enabled": "true", "no": "false", "off": "false", "disabled": "false"}
_MEANT_MS = {"s": 1000, "sec": 1000, "seconds": 1000, "m": 60_000, "min": 60_000, "minutes": 60_000, "h": 3_600_000}
_MAX_TYPED_DISTANCE = 2

# What `typed` accepts: of WSL's spellings those that mean what they look like (no octal, no sizes below zero).
_TYPED_INT = re.compile(r"0|-?[1-9][0-9]{0,9}", re.ASCII)
_TYPED_SIZE = re.compile(r"(?:0|[1-9][0-9]{0,14})[KMGT]?B?", re.ASCII)


def canonical(name: str) -> str | None:
    """The canonical name of a key as WSL finds it: `section.key` in any case, aliases under their `wsl2.` name."""
    return _CANONICAL.get(name.lower())


def named_key(name: str) -> str:
    """The key that a person names, with its section or without.

    Raises:
        ProblemError: `wslconfig.unknown_key`, or `wslconfig.unknown_key_near` with what was `meant`.
    """
    key = canonical(name) or _BARE.get(name.lower())
    if key is not None:
        return key
    meant = nearest(name.rpartition(".")[2], _BARE)
    if meant is not None:
        raise ProblemError(problem("wslconfig.unknown_key_near", name=name, meant=_BARE[meant]))
    raise ProblemError(problem("wslconfig.unknown_key", name=name))


def number(values: Mapping[str, Value], key: str) -> int | None:
    """A key's value where it is an integer or a size; None where it is not set."""
    value = values.get(key)
    return value if isinstance(value, int) else None


def parse_size(text: str) -> int | None:
    """Bytes of a size as WSL reads it, None if it is not one: upper-case suffix, wraps modulo 2^64."""
    match = _SIZE.match(text)
    if match is None:
        return None
    zero, sign, digits, suffix = match.groups()
    if zero:
        return 0
    # A number of a million digits must not be computed. One that is too long saturates, whatever its sign.
    number = int(digits) if len(digits) <= _SIZE_DIGITS else _SIZE_LIMIT
    if number >= _SIZE_LIMIT:
        number = _SIZE_LIMIT - 1
    elif sign == "-":
        number = -number
    return number * _SIZE_FACTORS[suffix] % _SIZE_LIMIT


def parse_int(text: str) -> int | None:
    """An integer as C's strtol with base 0 reads it on Windows: hexadecimal, leading-0 octal, saturating at 32 bits."""
    match = _INT.match(text)
    if match is None:
        return None
    sign, hexadecimal, octal, decimal = match.groups()
    if hexadecimal is not None:
        number = int(hexadecimal, 16)
    elif decimal is not None:
        number = int(decimal) if len(decimal) <= _INT_DIGITS else INT_MAX + 1
    else:
        number = int(octal or "0", 8)
    return min(max(-number if sign == "-" else number, INT_MIN), INT_MAX)


def read_value(key: str, text: str) -> tuple[Value | None, int]:
    """What WSL takes a text for, and how often it complains about it. An empty string is as good as no line.

    Args:
        key: canonical name; text: the value without quotes and escapes.
    """
    value: Value | None
    match KEY_TYPES[key]:
        case KeyType.BOOL:
            value = _BOOLS.get(text.lower())
        case KeyType.INT:
            value = parse_int(text)
        case KeyType.SIZE:
            value = parse_size(text)
        case KeyType.ENUM:
            value = next((word for word in ENUM_WORDS[key] if word.lower() == text.lower()), None)
        case KeyType.IPV4:
            value = text if _IPV4.match(text) else None
        case KeyType.MAC:
            value = text if _MAC.match(text) else None
        case KeyType.LIST if key == "experimental.ignoredPorts":
            return _ports(text)
        case _:
            return text or None, 0
    return value, int(value is None)


def _ports(text: str) -> tuple[tuple[int, ...] | None, int]:
    """Good entries, and how many are bad. Text after the digits is ignored."""
    entries = text.split(",") if text else []
    ports = []
    for entry in entries:
        match = _PORT.match(entry)
        digits = match[2] if match and match[1] != "-" else ""
        if digits and len(digits) <= _PORT_DIGITS and 1 <= int(digits) <= 65535:
            ports.append(int(digits))
    return tuple(ports) or None, len(entries) - len(ports)


def format_value(key: str, value: Value) -> str:
    """The text to stand behind `key=`, in the form of the reference's `safe_writer_rules`.

    Args:
        value: as `read_value` gives it, or `typed`.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(str(port) for port in value)
    if isinstance(value, str):
        return _quoted(value)
    if KEY_TYPES[key] is KeyType.SIZE and value:
        for suffix, factor in (("GB", GIB), ("MB", MIB), ("KB", KIB)):
            if value % factor == 0:
                return f"{value // factor}{suffix}"
    return str(value)


def _quoted(text: str) -> str:
    """A string with its escapes, in quotes where WSL would cut it otherwise."""
    for raw, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\b", "\\b"), ("\n", "\\n"), ("\t", "\\t")):
        text = text.replace(raw, escaped)
    return f'"{text}"' if "#" in text or text != text.strip(" ") else text


def typed(key: str, text: str) -> Value | None:
    """The value that a person typed, None if it is empty: the key is to go back to its default.

    Stricter than WSL: what it would misread (octal numbers), cut (long numbers) or destroy (characters beyond ASCII)
    is refused. Paths may be written with single or doubled backslashes.

    Args:
        key: canonical name.

    Raises:
        ProblemError: `wslconfig.value_refused.<type>`, with `meant` as `wslconfig.value_refused_near`;
            `wslconfig.value_not_ascii`.
    """
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isprintable()):
        raise ProblemError(problem("wslconfig.value_not_ascii", key=key, value=text))
    kind = KEY_TYPES[key]
    if kind is KeyType.PATH:
        head, body = ("\\\\", text.lstrip("\\")) if text.startswith("\\\\") else ("", text)
        text = head + re.sub(r"\\+", r"\\", body)
    value, complaints = read_value(key, text)
    fits = {KeyType.INT: _TYPED_INT, KeyType.SIZE: _TYPED_SIZE}.get(kind)
    saturated = kind is KeyType.INT and str(value) != text
    if complaints or value is None or saturated or (fits and not fits.fullmatch(text)):
        meant = meant_value(key, text)
        if meant is None:
            words = ", ".join(ENUM_WORDS.get(key, ()))
            raise ProblemError(problem(f"wslconfig.value_refused.{kind.value}", key=key, value=text, words=words))
        raise ProblemError(problem("wslconfig.value_refused_near", key=key, value=text, meant=meant))
    return value


def meant_value(key: str, text: str) -> str | None:
    """What a text that WSL refuses was probably meant to be, as it should be written; None if that cannot be told."""
    text = text.partition(";")[0].strip()
    match KEY_TYPES[key]:
        case KeyType.BOOL:
            return _MEANT_BOOL.get(text.lower())
        case KeyType.SIZE:
            found = _MEANT_SIZE.match(text)
            size = round(float(found[1]) * _SIZE_FACTORS[found[2].upper()]) if found else None
            return format_value(key, size // MIB * MIB if size > MIB else size) if size is not None else None
        case KeyType.INT:
            found = _MEANT_INT.match(text)
            factor = _MEANT_MS.get(found[2].lower(), 1) if found and key.endswith("Timeout") else 1
            return str(int(found[1]) * factor) if found else None
        case KeyType.ENUM:
            words = {word.lower(): word for word in ENUM_WORDS[key]}
            near = nearest(text, words)
            return words[near] if near else None
        case _:
            return None


def nearest(word: str, names: Mapping[str, str]) -> str | None:
    """The one of `names` (lower case) that `word` is a slip of the finger away from; None if none is, or it is one."""
    word = word.lower()
    letters, limit = set(word), min(_MAX_TYPED_DISTANCE, len(word) // 3)
    best, best_distance = None, limit + 1
    for name in names:
        # A slip changes the length by one and the letters by two at most; most names are out at once.
        if abs(len(name) - len(word)) > limit or len(letters ^ set(name)) > 2 * limit:
            continue
        if (found := _distance(word, name)) < best_distance:
            best, best_distance = name, found
    return best if best_distance else None


def _distance(a: str, b: str) -> int:
    """Slips between two words: letters left out, added, changed or swapped with a neighbour."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        before, above, row = row, before, [i]
        for j, right in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (left != right))
            if i > 1 and j > 1 and left == b[j - 2] and a[i - 2] == right:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]

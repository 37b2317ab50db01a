"""What of a person is taken out of a text before it is kept or handed on: the one place that knows.

Owns what counts as a secret (tokens, keys, passwords, cookies), as a person (account, computer, e-mail, public
address) and as a conversation (prompts, answers), in every spelling that logs and files bring: percent-encoded,
JSON-escaped, 8.3 names, bytes as Python shows them. What helps to find a fault stays: figures, versions, the rest of a
path, the addresses of this PC and its own network. The log of the product, crash reports and diagnostics go through
here.

What is found leaves a mark such as `<user>` behind; a marked text comes out of a second pass as it is.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

from kotaro_bridge.domain.redaction_rules import (
    ADDRESS4,
    ADDRESS6,
    AFTER_ANYTHING,
    COMPUTER,
    CONVERSATION,
    EMAIL,
    HARDWARE,
    PERSON_FOLDER,
    SECRET_NAME,
    SECRETS,
    VERSION_BEFORE,
)

_NOISE = re.compile(r"\0|(?:\x1b|\\u001[bB]|\\x1[bB]|\\033|\\e)\[[0-9;]*[A-Za-z]")
"""NULs of UTF-16 that was read as UTF-8, and colours: a name or a token would hide between them."""
_SHORTEST, _SHORTEST_SECRET = 3, 6
_PERCENT = "%(?:25){0,3}"
_BACKSLASH = rf"(?:\\|{_PERCENT}5[Cc])"
_BACKSLASHES = rf"{_BACKSLASH}{{1,63}}"
"""Of an escape, in a text that was escaped more than once."""
_BASE64 = "[A-Za-z0-9+/_-]"
_SHORT_NAME = 6  # letters that Windows keeps of a long name in its 8.3 form

_WORDS = """
    admin administrator administrador all android build code cuda data debian default demo dev developer docker
    engine games gaming gpu guest home host info kotaro linux linuxbrew llama local localhost main model models
    nobody none nvidia office owner pc people private program public python qwen release root server service shared
    student support system temp test tester ubuntu user username users vllm windows work wsl
"""
COMMON = frozenset(_WORDS.split())
"""Accounts and computers whose names name nobody. Without their folders they are words of every log."""


class Kind(StrEnum):
    """What was taken out; the mark that it leaves is the name in angle brackets."""

    SECRET = "secret"  # noqa: S105
    USER = "user"
    HOST = "host"
    EMAIL = "email"
    ADDRESS = "address"
    HARDWARE = "id"
    TEXT = "text"

    @property
    def mark(self) -> str:
        """What stands in its place."""
        return f"<{self.value}>"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who must not be recognised.

    Args:
        users: account names, and the last part of home folders that have another name.
        hosts: names of the computer.
        secrets: values that are known to be secret, such as those of environment variables.
    """

    users: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()

    def and_users(self, names: Iterable[str]) -> Identity:
        """The same with more account names."""
        return Identity(tuple(dict.fromkeys((*self.users, *names))), self.hosts, self.secrets)


NOBODY = Identity()


class Redactor:
    """Takes out what must not get out. Not for several threads at once: it counts.

    Args:
        identity: who must not be recognised; what is secret by its look is known without it.
    """

    def __init__(self, identity: Identity = NOBODY) -> None:
        self.counts: Counter[Kind] = Counter()
        values = (made for value in _longest_first(identity.secrets) for made in _secret_patterns(value))
        # Secrets before names: a password may hold one, and has to go whole.
        self._patterns: list[tuple[re.Pattern[str], Kind]] = [
            *((pattern, Kind.SECRET) for pattern in values),
            *((pattern, Kind.SECRET) for pattern in SECRETS),
            *((pattern, Kind.TEXT) for pattern in CONVERSATION),
            (EMAIL, Kind.EMAIL),
            *((pattern, Kind.HOST) for pattern in map(_name_pattern, _longest_first(identity.hosts)) if pattern),
            *((pattern, Kind.USER) for pattern in map(_name_pattern, _longest_first(identity.users)) if pattern),
        ]

    def text(self, text: str, *, addresses: bool = True) -> str:
        """The text without what must not get out.

        Args:
            addresses: False for a list of versions: 2.6.1.0 is a WSL, and could be an address.
        """
        text = _NOISE.sub("", text)
        for pattern, kind in self._patterns:
            text = self._replaced(pattern, kind, text)
        text = self._replaced(PERSON_FOLDER, Kind.USER, text, unless=_is_common)
        text = self._replaced(COMPUTER, Kind.HOST, text)
        for number in HARDWARE:
            text = self._replaced(number, Kind.HARDWARE, text)
        if addresses:
            text = self._replaced(ADDRESS4, Kind.ADDRESS, text, unless=_is_no_stranger)
            text = self._replaced(ADDRESS6, Kind.ADDRESS, text)
        return text

    def _replaced(
        self, pattern: re.Pattern[str], kind: Kind, text: str, *, unless: Callable[[re.Match[str]], bool] | None = None
    ) -> str:
        """Every `gone` of the pattern as a mark; what is around it stays."""

        def mark(match: re.Match[str]) -> str:
            if unless is not None and unless(match):
                return match[0]
            begin, end = (place - match.start() for place in match.span("gone"))
            if match[0].startswith(kind.mark, begin):
                return match[0]  # it is gone already
            self.counts[kind] += 1
            return f"{match[0][:begin]}{kind.mark}{match[0][end:]}"

        return pattern.sub(mark, text)


_MARKS = frozenset(kind.mark for kind in Kind)


def names_in(text: str) -> frozenset[str]:
    """Account names that the paths of a text tell, such as that of the Linux side, which nobody else knows."""
    found = (unquote(match["gone"]) for match in PERSON_FOLDER.finditer(text) if not _is_common(match))
    return frozenset(name for name in found if "\\" not in name and name not in _MARKS)


def secret_values(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Values of variables whose names say that they are secret, and passwords of proxies."""
    named = (value for name, value in environment.items() if SECRET_NAME.search(name.upper()))
    proxies = (value for name, value in environment.items() if name.upper().endswith("_PROXY"))
    logins = (value.rpartition("@")[0].rpartition("://")[2] for value in proxies)
    return (*named, *(unquote(password) for _, _, password in (login.partition(":") for login in logins) if password))


def _longest_first(words: Iterable[str]) -> list[str]:
    """A name that holds another one goes first, whole."""
    return sorted(set(words), key=lambda word: (-len(word), word))


def _secret_patterns(value: str) -> Iterator[re.Pattern[str]]:
    """The value, and any base64 that holds it, such as the login of `Authorization: Basic`."""
    if len(value) >= _SHORTEST_SECRET:
        yield re.compile(f"(?P<gone>{_spelled(value)})")
        inside = "|".join(_in_base64(value.encode("utf-8", "replace")))
        yield re.compile(f"(?<!{_BASE64})(?P<gone>{_BASE64}*(?:{inside}){_BASE64}*(?:=|%3[Dd]){{0,2}})")


def _in_base64(data: bytes) -> Iterator[str]:
    """How bytes look inside the base64 of more of them, in either alphabet: it depends on how many come before, and the
    letters that are made of neighbours too are left out.
    """
    for before in range(3):
        letters = base64.b64encode(bytes(before) + data).decode()
        whole = letters[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        yield re.escape(whole).replace(r"\+", r"[+\-]").replace("/", "[/_]")


def _name_pattern(name: str) -> re.Pattern[str] | None:
    """A name as a whole word, in its 8.3 form too; None for one that is a common word, or no word at all.

    Japanese has no spaces between words: such a name is taken out wherever it stands.
    """
    if name.isascii():
        if len(name) < _SHORTEST or name.lower() in COMMON or not re.search("[A-Za-z]", name):
            return None
        short = re.sub(r"[\s.]", "", name)[:_SHORT_NAME]
        # The names of this product stay: nobody can read a log in which they do not stand.
        own = r"(?!kotaro[-_ ]?bridge)"
        first = re.escape(name[0])
        return re.compile(
            rf"(?=[{first}%\\]){AFTER_ANYTHING}{own}(?P<gone>{_spelled(name)}|{re.escape(short)}~[0-9])(?![A-Za-z0-9])",
            re.IGNORECASE,
        )
    return re.compile(f"(?P<gone>{_spelled(name)})", re.IGNORECASE) if len(name) > 1 else None


def _spelled(word: str) -> str:
    """A pattern of the word in which each letter may be percent-encoded, or escaped as JSON and Python do, also more
    than once.
    """
    # Only one backslash is of the first letter: the others may be of the path before it.
    return "".join(_letter(letter, _BACKSLASH if at == 0 else _BACKSLASHES) for at, letter in enumerate(word))


def _letter(letter: str, escape: str) -> str:
    """Args: escape: what stands before the first `u` or `x`."""
    if letter in "\\/":
        return rf"(?:[\\/]|{_PERCENT}(?:5[Cc]|2[Ff])|\\u005[Cc])+"
    units = re.findall("....", letter.encode("utf-16-be").hex())
    data = letter.encode("utf-8", "replace")
    percent = "".join(f"{_PERCENT}{byte:02x}" for byte in data)
    spellings = [
        rf"{_BACKSLASH}{{0,63}}(?:{letter}|{percent})" if letter in "\"'" else re.escape(letter),
        percent,
        escape + _BACKSLASHES.join(f"u{unit}" for unit in units),
        escape + _BACKSLASHES.join(f"x{byte:02x}" for byte in data),
        *([r"\+"] if letter == " " else []),
    ]
    return f"(?i:{'|'.join(spellings[1:])}|{spellings[0]})" if letter.isascii() else f"(?i:{'|'.join(spellings)})"


def _is_common(match: re.Match[str]) -> bool:
    return match["gone"].lower() in COMMON


def _is_no_stranger(match: re.Match[str]) -> bool:
    """Loopback, private, link-local and multicast addresses are the PC's own business; four numbers may be a version
    too.
    """
    parts = [int(part) for part in match["gone"].split(".")]
    if any(part > 255 for part in parts):
        return True
    first, second = parts[:2]
    own = first in (10, 127) or first >= 224
    own |= (first, second) in ((192, 168), (169, 254)) or (first == 172 and 16 <= second < 32)
    before = match.string[max(0, match.start() - 40) : match.start()].rpartition("\n")[2]
    return own or VERSION_BEFORE.search(before) is not None

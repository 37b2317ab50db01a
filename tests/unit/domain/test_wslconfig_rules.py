"""The reader against the rules of the reference on generated files: each made-up line carries what must come of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kotaro_bridge.domain.wsl.wslconfig import parse
from kotaro_bridge.resources import resource

REFERENCE: dict[str, Any] = json.loads(resource("wslconfig/keys.json").read_text(encoding="utf-8"))
SIZES = [(row["text"], row["bytes"]) for row in REFERENCE["types"]["size"]["table"] if row["text"].isascii()]
BOOLS = [
    ("true", True),
    ("TRUE", True),
    ("1", True),
    ("false", False),
    ("0", False),
    ("yes", None),
    ("", None),
    ("2", None),
]
INTS = [
    ("4", 4),
    ("-1", -1),
    ("0x10", 16),
    ("010", 8),
    ("99999999999", 2**31 - 1),
    ("4.0", None),
    ("60s", None),
    ("", None),
]
ENUMS = [("mirrored", "Mirrored"), ("NAT", "Nat"), ("None", "None"), ("bridge", None), ("", None)]
PATHS = [
    ("C:\\\\temp\\\\swap.vhdx", "C:\\temp\\swap.vhdx"),
    ("C:/temp/x", "C:/temp/x"),
    ('"C:\\\\a # b"', "C:\\a # b"),
    ("", ""),
]
MODES = ", ".join(sorted(next(key["allowed"] for key in REFERENCE["keys"] if key["full"] == "wsl2.networkingMode")))
KEYS = {
    "wsl2.memory": (SIZES, "MessageInvalidNumberString"),
    "wsl2.swap": (SIZES, "MessageInvalidNumberString"),
    "wsl2.guiApplications": (BOOLS, "MessageConfigInvalidBoolean"),
    "wsl2.firewall": (BOOLS, "MessageConfigInvalidBoolean"),
    "wsl2.processors": (INTS, "MessageConfigInvalidInteger"),
    "general.instanceIdleTimeout": (INTS, "MessageConfigInvalidInteger"),
    "wsl2.networkingMode": (ENUMS, "MessageConfigInvalidEnum"),
    "wsl2.swapFile": (PATHS, ""),
}
NAMES = [*KEYS, "experimental.networkingMode", "experimental.firewall", "wsl2.foo", "network.memory", "general.memory"]


@dataclass
class Model:
    """The rules in the simplest words: a good header counts, the first of a key counts, aliases are one key."""

    section: str = ""
    line: int = 0

    def __post_init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.first: dict[str, tuple[str, int]] = {}
        self.warnings: list[list[str]] = []

    def warn(self, message: str, *values: str) -> None:
        self.warnings.append([message, *values, "F", str(self.line)])

    def set(self, name: str, text: str, value: Any, complaint: str) -> None:
        key = REFERENCE["aliases"].get(name, name)
        if key not in KEYS:
            self.warn("MessageConfigUnknownKey", name)
        elif key in self.first:
            first, line = self.first[key]
            self.warnings.append(["MessageConfigKeyDuplicated", name, "F", str(self.line), first, "F", str(line)])
        else:
            self.first[key] = (name, self.line)
            if value is None:
                self.warn(complaint, text, name)
                self.warnings[-1] += [MODES] if complaint == "MessageConfigInvalidEnum" else []
            elif value != "":
                self.values[key] = value


blanks = st.sampled_from(["", " ", "\t", "  "])
comments = st.sampled_from(["", "", "# c", "#日本語 [wsl2]", "# memory=1GB"])
BROKEN = [  # a line, and what is said of it
    ("; old", ["MessageConfigInvalidKey"]),
    ("9foo=1", ["MessageConfigInvalidKey"]),
    ("foo_bar=1", ["MessageConfigExpected", "'='"]),
    ("memory 8GB", ["MessageConfigExpected", "'='"]),
    ('memory="8GB', ["MessageConfigExpected", '"']),
    ("swapFile=C:\\temp\\swap.vhdx", ["MessageConfigInvalidEscape", "s"]),
    ("[ wsl2]", ["MessageConfigInvalidSection"]),
]


@st.composite
def made_up(draw: st.DrawFn) -> tuple[str, Model]:
    """A file, and what must come of it."""
    model, lines = Model(), []
    for _ in range(draw(st.integers(0, 15))):
        model.line += 1
        kind = draw(st.sampled_from(["header", "key", "key", "key", "comment", "broken", "continued"]))
        lead, tail = draw(blanks), draw(blanks) + draw(comments)
        if kind == "comment":
            lines.append(lead + draw(comments))
        elif kind == "broken":
            text, said = draw(st.sampled_from(BROKEN))
            lines.append(lead + text)
            model.warn(*said)
        elif kind == "header":
            model.section = draw(st.sampled_from(["wsl2", "experimental", "general", "network"]))
            lines.append(f"{lead}[{model.section}]{tail}")
        elif kind == "continued":
            lines.append(f"{lead}foo = a \\")
            lines.append(f"b{tail}")
            model.line += 1
            model.warn("MessageConfigUnknownKey", f"{model.section}.foo" if model.section else "foo")
        else:
            full = draw(st.sampled_from(NAMES))
            name = full.partition(".")[2]
            seen_as = f"{model.section}.{name}" if model.section else name
            key = REFERENCE["aliases"].get(seen_as, seen_as)
            choices, complaint = KEYS.get(key, (SIZES, ""))
            text, value = draw(st.sampled_from(choices))
            lines.append(f"{lead}{name}{draw(blanks)}={draw(blanks)}{text}{tail}")
            model.set(seen_as, text, value, complaint)
    end = draw(st.sampled_from(["\n", "\r\n"]))
    return end.join(lines) + draw(st.sampled_from(["", end])), model


@given(made_up())
def test_the_reader_keeps_the_rules(made: tuple[str, Model]) -> None:
    text, model = made
    config = parse(text.encode(), "F")
    assert [list(warning) for warning in config.warnings] == model.warnings
    assert config.values == model.values

""".wslconfig as WSL reads it: the vectors of the reference, and what they leave open."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kotaro_bridge.domain.wsl.wslconfig import parse
from kotaro_bridge.domain.wsl.wslconfig_keys import ALIASES, ENUM_WORDS, KEY_TYPES
from kotaro_bridge.domain.wsl.wslconfig_values import parse_int, parse_size
from kotaro_bridge.resources import resource

REFERENCE: dict[str, Any] = json.loads(resource("wslconfig/keys.json").read_text(encoding="utf-8"))
CASES = REFERENCE["parser_test_vectors"]["cases"]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_vectors_of_the_reference(case: dict[str, Any]) -> None:
    config = parse(case["input"].encode(), "F")
    assert [list(warning) for warning in config.warnings] == case["warnings"]
    assert dict(config.values) == case["set"]
    assert config.fatal == ()


@pytest.mark.parametrize("row", REFERENCE["types"]["size"]["table"], ids=lambda row: row["text"])
def test_sizes_of_the_reference(row: dict[str, Any]) -> None:
    assert parse_size(row["text"]) == row["bytes"]


def test_the_key_table_is_that_of_the_reference() -> None:
    keys = REFERENCE["keys"]
    assert {key["full"]: key["type"] for key in keys} == {name: kind.value for name, kind in KEY_TYPES.items()}
    assert {key["full"]: tuple(key["allowed"]) for key in keys if key["type"] == "enum"} == ENUM_WORDS
    assert REFERENCE["aliases"] == ALIASES


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 8),
        ("0x10", 16),
        ("-0X1f", -31),
        ("+7", 7),
        ("0", 0),
        ("08", None),
        ("0x", None),
        ("1 ", None),
        ("", None),
        ("-99999999999", -(2**31)),
    ],
)
def test_integers_are_those_of_c(text: str, value: int | None) -> None:
    assert parse_int(text) == value


def test_encodings() -> None:
    text = "[wsl2]\r\nmemory=8GB\r\n"
    for data in (text.encode("utf-8-sig"), b"\xff\xfe" + text.encode("utf-16-le")):
        assert dict(parse(data).values) == {"wsl2.memory": 8 << 30}
    without_bom = parse(text.encode("utf-16-le"))
    assert dict(without_bom.values) == {}
    assert without_bom.warnings != ()
    assert parse("[wsl2]\n# 日本語\nmemory=1GB\n".encode("cp932")).values == {"wsl2.memory": 1 << 30}


def test_control_z_ends_the_file() -> None:
    assert parse(b"[wsl2]\nswap=0\n\x1amemory=8GB\n").values == {"wsl2.swap": 0}


def test_a_wide_blank_cuts_a_value() -> None:
    """U+3000 loses its high byte, and the NUL that is left ends the text."""
    assert parse("[wsl2]\nmemory=8GB\u3000\n".encode()).values == {"wsl2.memory": 8 << 30}


def test_names_are_shown_as_they_are_written_and_aliases_are_one_key() -> None:
    config = parse(b"[WSL2]\nNetworkingMode=nat\n[experimental]\nnetworkingMODE=none\n", "F")
    assert config.values == {"wsl2.networkingMode": "Nat"}
    duplicate = ("MessageConfigKeyDuplicated", "experimental.networkingMODE", "F", "4", "WSL2.NetworkingMode", "F", "2")
    assert config.warnings == (duplicate,)


def test_an_invalid_first_value_still_wins() -> None:
    config = parse(b"[wsl2]\nmemory=8gb\nmemory=8GB\n", "F")
    assert config.values == {}
    assert [warning[0] for warning in config.warnings] == ["MessageInvalidNumberString", "MessageConfigKeyDuplicated"]


def test_a_short_bad_header_after_a_longer_good_one() -> None:
    config = parse(b"[wsl2]\n[ab_]\nswap=1G\n", "F")
    assert config.warnings == (("MessageConfigExpected", "']'", "F", "2"), ("MessageConfigUnknownKey", "ab", "F", "3"))


def test_a_header_that_starts_wrong_leaves_the_section_as_it_was() -> None:
    config = parse(b"[wsl2]\n[ experimental]\nswap=1G\n", "F")
    assert config.warnings == (("MessageConfigInvalidSection", "F", "2"),)
    assert config.values == {"wsl2.swap": 1 << 30}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'a\\"b', 'a"b'),
        (b'"a \\" # b"', 'a " # b'),
        (b"a # b", "a"),
        (b"a\\\r\nb", "ab"),
        (b"'a'", "'a'"),
    ],
)
def test_values(value: bytes, expected: str) -> None:
    assert parse(b"[wsl2]\nkernelCommandLine=" + value).values == {"wsl2.kernelCommandLine": expected}


@pytest.mark.parametrize(("value", "shown"), [(b"C:\\x", "x"), (b"a\\", "\uffff")])
def test_a_bad_escape_drops_the_line(value: bytes, shown: str) -> None:
    config = parse(b"[wsl2]\nkernel=" + value, "F")
    assert config.values == {}
    assert config.warnings == (("MessageConfigInvalidEscape", shown, "F", "2"),)


@pytest.mark.parametrize(
    ("text", "values", "warnings"),
    [
        ("[wsl2]\rswap=1G\rmemory=2G\r\r", {"wsl2.swap": 1 << 30, "wsl2.memory": 2 << 30}, []),
        ("\r\r; x\n", {}, [("MessageConfigInvalidKey", "F", "1")]),
        ("\r\r\n; x\r\n", {}, [("MessageConfigInvalidKey", "F", "2")]),
        (
            "[wsl2]\r\r\nfoo=1\r\r\n; x",
            {},
            [("MessageConfigUnknownKey", "wsl2.foo", "F", "3"), ("MessageConfigInvalidKey", "F", "5")],
        ),
        ("[wsl2]\nkernel=a\\\rb\n", {}, [("MessageConfigInvalidEscape", "\r", "F", "2")]),
    ],
)
def test_a_lone_cr_ends_a_value_and_a_header_and_is_a_blank_elsewhere(
    text: str, values: dict[str, Any], warnings: list[tuple[str, ...]]
) -> None:
    """As WSL's own parser reads character by character, behind a text mode that makes CRLF to LF."""
    config = parse(text.encode(), "F")
    assert config.values == values
    assert list(config.warnings) == warnings


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        ("10.255.255.254", True),
        ("0.0.0.1", True),
        ("1.2.3", False),
        ("256.1.1.1", False),
        ("1.2.3.4.", False),
        ("", False),
    ],
)
def test_addresses(value: str, valid: bool) -> None:
    config = parse(f"[experimental]\ndnsTunnelingIpAddress={value}\n".encode(), "F")
    assert dict(config.values) == ({"experimental.dnsTunnelingIpAddress": value} if valid else {})
    assert len(config.warnings) == (0 if valid else 1)


def test_a_bad_mac_address_stops_the_vm_and_the_reading() -> None:
    good = parse(b"[wsl2]\nmacAddress=aa-bb-cc-dd-ee-0F\n")
    assert good.values == {"wsl2.macAddress": "aa-bb-cc-dd-ee-0F"}
    bad = parse(b"[wsl2]\nfoo=1\nmacAddress=aa:bb:cc:dd:ee-ff\nbar=1\n", "F")
    assert bad.fatal == ("MessageConfigMacAddress", "aa:bb:cc:dd:ee-ff", "wsl2.macAddress", "F", "3")
    assert bad.warnings == (("MessageConfigUnknownKey", "wsl2.foo", "F", "2"),)


def test_ports() -> None:
    config = parse(b"[experimental]\nignoredPorts=80, 443,80abc,0,x\n", "F")
    assert config.values == {"experimental.ignoredPorts": (80, 443, 80)}
    warning = ("MessageConfigInvalidInteger", "80, 443,80abc,0,x", "experimental.ignoredPorts", "F", "2")
    assert config.warnings == (warning, warning)
    assert parse(b"[experimental]\nignoredPorts=\n") == parse(b"")
    assert parse(b"[wsl2]\nloadKernelModules=a,b\n").values == {"wsl2.loadKernelModules": "a,b"}


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    config = parse(data)
    assert set(config.values) <= set(KEY_TYPES)


WORDS = ["[wsl2]", "[ab", "memory", "=", "8GB", '"', "\\", "\n", "\r", " ", "#", "swap", "1", "n", "あ"]


@given(st.lists(st.sampled_from(WORDS), max_size=30))
def test_lines_stay_in_order_and_within_the_file(words: list[str]) -> None:
    text = "".join(words)
    config = parse(text.encode(), "F")
    lines = [int(warning[warning.index("F") + 1]) for warning in config.warnings]
    assert lines == sorted(lines)
    assert all(1 <= line <= text.count("\n") + text.count("\r") + 1 for line in lines)

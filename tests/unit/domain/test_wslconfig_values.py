"""Values of .wslconfig: how they are written, what a person may type, and what was meant."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.wsl.wslconfig import parse
from kotaro_bridge.domain.wsl.wslconfig_catalogue import BY_POLICY, DEFAULTS, MAIN_KEYS, MILLISECONDS, REMOVED
from kotaro_bridge.domain.wsl.wslconfig_keys import ALIASES, KEY_TYPES, KeyType
from kotaro_bridge.domain.wsl.wslconfig_values import (
    Value,
    canonical,
    format_value,
    meant_value,
    named_key,
    parse_int,
    parse_size,
    read_value,
    typed,
)
from kotaro_bridge.resources import resource
from kotaro_bridge.texts import Texts

REFERENCE: dict[str, Any] = json.loads(resource("wslconfig/keys.json").read_text(encoding="utf-8"))


def test_the_catalogue_is_that_of_the_reference() -> None:
    keys = {key["full"]: key for key in REFERENCE["keys"]}
    stated = {name: key["default"] for name, key in keys.items() if key.get("default") not in (None, "")}
    assert stated == DEFAULTS
    assert {name for name, key in keys.items() if key.get("unit") == "ms"} == MILLISECONDS
    assert {name for name, key in keys.items() if key.get("machine_policy_can_override")} == BY_POLICY
    assert {each["full"] for each in REFERENCE["removed_keys"]} == set(REMOVED.values())
    assert set(MAIN_KEYS) <= set(KEY_TYPES)


def test_numbers_of_a_million_digits_are_not_computed() -> None:
    """Python refuses to convert them; WSL saturates."""
    digits = "9" * 1_000_000
    assert parse_size(digits) == parse_size("-" + digits + "B") == 2**64 - 1
    assert (parse_int(digits), parse_int("-" + digits)) == (2**31 - 1, -(2**31))
    assert read_value("experimental.ignoredPorts", f"80,{digits},-80,+0443") == ((80, 443), 2)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("wsl2.memory", 24 << 30, "24GB"),
        ("wsl2.memory", 1536 << 20, "1536MB"),
        ("wsl2.swap", 8 << 10, "8KB"),
        ("wsl2.swap", 1000, "1000"),
        ("wsl2.swap", 0, "0"),
        ("wsl2.processors", 1 << 20, "1048576"),
        ("wsl2.vmIdleTimeout", -1, "-1"),
        ("wsl2.guiApplications", False, "false"),
        ("wsl2.guiApplications", True, "true"),
        ("wsl2.networkingMode", "Mirrored", "Mirrored"),
        ("wsl2.swapFile", r"C:\temp\a b.vhdx", r"C:\\temp\\a b.vhdx"),
        ("wsl2.swapFile", r"C:\a#b", r'"C:\\a#b"'),
        ("wsl2.kernelCommandLine", ' a "b" ', r'" a \"b\" "'),
        ("experimental.ignoredPorts", (80, 443), "80,443"),
    ],
)
def test_how_values_are_written(key: str, value: Value, text: str) -> None:
    assert format_value(key, value) == text
    section, _, name = key.partition(".")
    assert parse(f"[{section}]\n{name}={text}\n".encode()).values == {key: value}


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from("\b\n\t"), min_size=1))
def test_any_text_is_read_as_it_was_written(text: str) -> None:
    written = format_value("wsl2.kernelCommandLine", text)
    assert parse(f"[wsl2]\nkernelCommandLine={written}".encode()).values == {"wsl2.kernelCommandLine": text}


@given(st.integers(0, 2**63))
def test_any_size_is_read_as_it_was_written(size: int) -> None:
    assert parse_size(format_value("wsl2.memory", size)) == size


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("wsl2.memory", " 8192MB ", 8 << 30),
        ("wsl2.memory", "8", 8),
        ("wsl2.memory", "", None),
        ("wsl2.processors", "4", 4),
        ("general.instanceIdleTimeout", "-1", -1),
        ("wsl2.guiApplications", "False", False),
        ("wsl2.networkingMode", "mirrored", "Mirrored"),
        ("wsl2.swapFile", r"D:\wsl\swap.vhdx", r"D:\wsl\swap.vhdx"),
        ("wsl2.swapFile", r"D:\\wsl\\swap.vhdx", r"D:\wsl\swap.vhdx"),
        ("wsl2.swapFile", r"\\\\server\\share\\x", r"\\server\share\x"),
        ("wsl2.macAddress", "aa:bb:cc:dd:ee:0F", "aa:bb:cc:dd:ee:0F"),
        ("experimental.ignoredPorts", "80, 443", (80, 443)),
    ],
)
def test_what_a_person_may_type(key: str, text: str, value: Value | None) -> None:
    assert typed(key, text) == value


@pytest.mark.parametrize(
    ("key", "text", "meant"),
    [
        ("wsl2.memory", "8gb", "8GB"),
        ("wsl2.memory", "8 GiB", "8GB"),
        ("wsl2.memory", "1.5GB", "1536MB"),
        ("wsl2.memory", "0.5kb", "512"),
        ("wsl2.memory", "8GB ; x", "8GB"),
        ("wsl2.memory", "-1", None),
        ("wsl2.memory", "half", None),
        ("wsl2.processors", "4cores", "4"),
        ("wsl2.processors", "4.0", "4"),
        ("wsl2.processors", "010", "10"),
        ("wsl2.processors", "many", None),
        ("wsl2.processors", "99999999999", None),
        ("wsl2.vmIdleTimeout", "60s", "60000"),
        ("wsl2.vmIdleTimeout", "5 min", "300000"),
        ("wsl2.guiApplications", "yes", "true"),
        ("wsl2.guiApplications", "Off", "false"),
        ("wsl2.guiApplications", "maybe", None),
        ("wsl2.networkingMode", "bridge", "Bridged"),
        ("wsl2.networkingMode", "wifi", None),
        ("wsl2.macAddress", "zz", None),
        ("experimental.ignoredPorts", "80,x", None),
        ("experimental.dnsTunnelingIpAddress", "1.2.3", None),
    ],
)
def test_what_wsl_would_not_take_is_refused(key: str, text: str, meant: str | None) -> None:
    with pytest.raises(ProblemError) as caught:
        typed(key, text)
    found = caught.value.problem
    form = KEY_TYPES[key].value
    assert found.code == (f"wslconfig.value_refused.{form}" if meant is None else "wslconfig.value_refused_near")
    for language in ("en", "ja"):
        message = Texts(language).message(found)
        assert text in message.what
        assert "?" not in message.what + message.do
    assert (found.params["key"], found.params["value"], found.params.get("meant")) == (key, text, meant)
    assert meant_value(key, text) == meant


@pytest.mark.parametrize("text", ["C:\\あ\\x.vhdx", "a\nb", "\uff18GB"])
def test_what_wsl_would_destroy_is_refused(text: str) -> None:
    with pytest.raises(ProblemError) as caught:
        typed("wsl2.swapFile", text)
    assert caught.value.problem.code == "wslconfig.value_not_ascii"


@pytest.mark.parametrize("name", ["wsl2.memory", "WSL2.MEMORY", "memory", "Memory"])
def test_keys_by_name(name: str) -> None:
    assert named_key(name) == "wsl2.memory"
    assert named_key("experimental.networkingMode") == "wsl2.networkingMode"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("memroy", "wsl2.memory"),
        ("wsl2.proccesors", "wsl2.processors"),
        ("experimental.memory", None),
        ("foo", None),
        ("x", None),
    ],
)
def test_unknown_keys(name: str, meant: str | None) -> None:
    with pytest.raises(ProblemError) as caught:
        named_key(name)
    assert caught.value.problem.params.get("meant") == meant


@pytest.mark.parametrize("alias", ALIASES)
def test_aliases_are_one_key(alias: str) -> None:
    assert canonical(alias.upper()) == ALIASES[alias]
    assert KEY_TYPES[ALIASES[alias]] in (KeyType.BOOL, KeyType.ENUM)

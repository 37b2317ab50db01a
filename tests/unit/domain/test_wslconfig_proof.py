"""What a .wslconfig asks for against what Linux shows: each rule, and each explanation of a difference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kotaro_bridge.domain.units import GIB, MIB
from kotaro_bridge.domain.wsl.wsl_vm import VmFacts
from kotaro_bridge.domain.wsl.wslconfig_document import Document
from kotaro_bridge.domain.wsl.wslconfig_effect import Effect, EffectReport
from kotaro_bridge.domain.wsl.wslconfig_proof import prove
from kotaro_bridge.domain.wsl.wslconfig_recommend import NOTHING_KNOWN, HostFacts

PC = HostFacts(32 * GIB, 16, 100 * GIB, "Nat")
VM = VmFacts("b", 1000, 16 * GIB - 300 * MIB, 16, 4 * GIB, "Nat", "initrd=x panic=-1 quiet", "6.6")
POLICY = "wsl: The .wslconfig setting 'wsl2.networkingMode' is disabled by the computer policy."


def report(
    text: str, host: HostFacts = PC, *, reached: bool | None = True, waits: bool = False, **shown: Any
) -> EffectReport:
    """The proof of a file with these lines below `[wsl2]`."""
    return prove(Document(f"[wsl2]\n{text}".encode(), "F"), host, replace(VM, **shown), reached=reached, waits=waits)


def told(text: str, key: str, host: HostFacts = PC, **more: Any) -> tuple[str, str, bool | None, str | None]:
    """(wanted, found, ok, why) of one key."""
    (one,) = [each for each in report(text, host, **more).effects if each.key == f"wsl2.{key}"]
    why = one.why.code.removeprefix("wslconfig.effect.") if one.why is not None else None
    return one.wanted, one.found, one.ok, why


def test_a_file_that_took_effect() -> None:
    done = report("memory=16GB\nprocessors=16\nswap=4GB\nnetworkingMode=nat\nlocalhostForwarding=true\n")
    assert done.ok
    assert [(effect.key, effect.ok, effect.why) for effect in done.effects] == [
        (f"wsl2.{key}", True, None) for key in ("memory", "processors", "swap", "networkingMode", "localhostForwarding")
    ]
    assert not EffectReport((*done.effects, Effect("k", "a", "b", False, None))).ok
    assert EffectReport((Effect("k", "a", "b", None, None),)).ok


def test_defaults_are_compared_but_cannot_fail() -> None:
    assert [effect.ok for effect in report("").effects] == [True] * 5
    other = report("", memory_bytes=8 * GIB, processors=4, swap_bytes=0)
    assert [effect.why.code for effect in other.effects if effect.why] == ["wslconfig.effect.not_set"] * 3
    assert other.ok


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("memory=16GB", 16 * GIB, ("16GB", "16.0 GiB", True, None)),
        ("memory=16GB", 16 * GIB - 768 * MIB, ("16GB", "15.2 GiB", True, None)),
        ("memory=16GB", 16 * GIB - 769 * MIB, ("16GB", "15.2 GiB", False, "memory_less")),
        ("memory=16GB", 16 * GIB + 1, ("16GB", "16.0 GiB", False, "differs")),
        ("memory=64GB", 31 * GIB, ("64GB", "31.0 GiB", False, "memory_capped")),
        ("memory=64GB", 8 * GIB, ("64GB", "8.0 GiB", False, "memory_less")),
        ("memory=1MB", 200 * MIB, ("1MB", "0.2 GiB", False, "memory_raised")),
        ("memory=0", 16 * GIB, ("16GB", "16.0 GiB", True, None)),
        ("memory=16GB", None, ("16GB", "", None, "not_told")),
        ("memory=8gb", 16 * GIB, ("8gb", "16.0 GiB", False, "ignored")),
        ("[general]\nmemory=8GB", 16 * GIB, ("memory=8GB", "16.0 GiB", False, "ignored")),
        ("memroy=8GB", 16 * GIB, ("memroy=8GB", "16.0 GiB", False, "ignored")),
        ("memory=", 16 * GIB, ("16GB", "16.0 GiB", True, None)),
    ],
)
def test_memory(text: str, found: int | None, expected: tuple[Any, ...]) -> None:
    assert told(text, "memory", memory_bytes=found) == expected


def test_what_is_ignored_names_its_line() -> None:
    (memory, *_) = report("# mine\nmemory=8gb").effects
    assert memory.why is not None
    assert memory.why.params == {"line": 3}


def test_a_change_that_waits_is_told_before_anything_else() -> None:
    assert told("memory=8GB", "memory", waits=True) == ("8GB", "15.7 GiB", False, "waits")
    assert told("memory=16GB", "memory", waits=True)[2:] == (True, None)
    assert told("memory=8GB", "swap", waits=True)[2:] == (None, "waits")
    assert told("networkingMode=mirrored", "networkingMode", waits=True)[3] == "waits"
    assert told("memory=8gb", "memory", waits=True)[3] == "ignored"


def test_nothing_is_known_of_the_pc() -> None:
    assert told("", "memory", NOTHING_KNOWN) == ("", "15.7 GiB", None, "not_told")
    assert told("", "processors", NOTHING_KNOWN) == ("", "16", None, "not_told")
    assert told("processors=16", "processors", NOTHING_KNOWN) == ("16", "16", True, None)
    assert told("", "swap", NOTHING_KNOWN) == ("", "4.0 GiB", None, "not_told")


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("processors=6", 6, ("6", "6", True, None)),
        ("processors=6", 16, ("6", "16", False, "differs")),
        ("processors=99", 16, ("99", "16", False, "processors_capped")),
        ("processors=-1", 16, ("16", "16", True, None)),
        ("processors=6", None, ("6", "", None, "not_told")),
    ],
)
def test_processors(text: str, found: int | None, expected: tuple[Any, ...]) -> None:
    assert told(text, "processors", processors=found) == expected


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("swap=8GB", 8 * GIB - 4096, ("8GB", "8.0 GiB", True, None)),
        ("swap=8GB", 0, ("8GB", "0.0 GiB", False, "swap_not_made")),
        ("swap=8GB", 4 * GIB, ("8GB", "4.0 GiB", False, "differs")),
        ("swap=0", 0, ("0", "0.0 GiB", True, None)),
        ("swap=-1", 4 * GIB, ("4GB", "4.0 GiB", True, None)),
        ("swap=8GB", None, ("8GB", "", None, "not_told")),
    ],
)
def test_swap(text: str, found: int | None, expected: tuple[Any, ...]) -> None:
    assert told(text, "swap", swap_bytes=found) == expected


@pytest.mark.parametrize(
    ("gib", "missing_mib"),
    [
        (8, 234),  # microsoft/WSL issue 6030: 7958 MiB of 8 GiB
        (12, 395),  # issue 9636: 11892.8 MiB of half of 24 GiB, from which firmware has taken something too
    ],
)
def test_what_linux_lacked_on_other_peoples_machines(gib: int, missing_mib: int) -> None:
    assert told(f"memory={gib}GB", "memory", memory_bytes=gib * GIB - missing_mib * MIB)[2]


def test_safe_mode_overrules_swap_and_network() -> None:
    safe: dict[str, Any] = {"swap_bytes": 0, "networking": "None"}
    assert told("safeMode=1", "swap", **safe) == ("0", "0.0 GiB", True, None)
    assert told("safeMode=1\nswap=8GB", "swap", **safe) == ("8GB", "0.0 GiB", False, "safe_mode")
    assert told("safeMode=1\nnetworkingMode=nat", "networkingMode", **safe) == ("Nat", "None", False, "safe_mode")
    assert told("safeMode=1\nnetworkingMode=none", "networkingMode", **safe) == ("None", "None", True, None)
    assert told("safeMode=1\nnetworkingMode=nat", "localhostForwarding", **safe)[3] == "port_off"


@pytest.mark.parametrize(
    ("text", "found", "said", "expected"),
    [
        ("networkingMode=mirrored", "Mirrored", (), ("Mirrored", "Mirrored", True, None)),
        ("networkingMode=mirrored", "Nat", (), ("Mirrored", "Nat", False, "fallback_nat")),
        ("networkingMode=mirrored", "Nat", (POLICY,), ("Mirrored", "Nat", False, "policy")),
        ("networkingMode=mirrored\nnetworkingMode=nat", "Nat", (POLICY,), ("Mirrored", "Nat", False, "fallback_nat")),
        ("networkingMode=virtioproxy", "Consomme", (), ("VirtioProxy", "Consomme", True, None)),
        ("networkingMode=nat", "Consomme", (), ("Nat", "Consomme", False, "fallback_other")),
        ("networkingMode=nat", "None", (), ("Nat", "None", False, "fallback_other")),
        ("networkingMode=none", "Nat", (), ("None", "Nat", False, "policy_maybe")),
        ("networkingMode=nat", None, (), ("Nat", "", None, "no_wslinfo")),
        ("networkingMode=nut", "Nat", (), ("nut", "Nat", False, "ignored")),
        ("", "Consomme", (), ("Nat", "Consomme", None, "not_set")),
    ],
)
def test_networking(text: str, found: str | None, said: tuple[str, ...], expected: tuple[Any, ...]) -> None:
    assert told(text, "networkingMode", networking=found, said=said) == expected


def test_what_wsl_said_is_the_evidence() -> None:
    why = next(e.why for e in report("networkingMode=mirrored", said=(POLICY, "wsl: other")).effects if e.ok is False)
    assert why is not None
    assert why.evidence == (POLICY,)


@pytest.mark.parametrize(
    ("text", "mode", "reached", "expected"),
    [
        ("", "Nat", True, ("true", "true", True, None)),
        ("", "Nat", False, ("true", "false", False, "port_silent")),
        ("", "Nat", None, ("", "", None, "port_not_checked")),
        ("localhostForwarding=false", "Nat", False, ("false", "", None, "port_off")),
        ("localhostForwarding=false", "Mirrored", True, ("true", "true", True, None)),
        ("localhostForwarding=no", "Nat", True, ("no", "true", False, "ignored")),
        ("networkingMode=none", "None", False, ("", "", None, "port_off")),
        ("", None, True, ("true", "true", True, None)),
    ],
)
def test_a_port(text: str, mode: str | None, reached: bool | None, expected: tuple[Any, ...]) -> None:
    assert told(text, "localhostForwarding", networking=mode, reached=reached) == expected


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("kernelCommandLine=panic=-1  quiet", VM.command_line, ("panic=-1  quiet", VM.command_line, True, None)),
        ("kernelCommandLine=pan", VM.command_line, ("pan", VM.command_line, False, "policy_maybe")),
        ("kernelCommandLine=pan", None, ("pan", "", None, "not_told")),
        ("kernelCommandLine=a\\qb", VM.command_line, ("a\\qb", VM.command_line, False, "ignored")),
    ],
)
def test_the_kernels_command_line(text: str, line: str | None, expected: tuple[Any, ...]) -> None:
    assert told(text, "kernelCommandLine", command_line=line) == expected


def test_a_kernel_of_ones_own_cannot_be_told() -> None:
    assert told("kernel=C:\\\\k", "kernel") == ("C:\\\\k", "6.6", None, "kernel")
    assert told("kernel=C:\\\\k", "kernel", release=None)[1] == ""
    assert "wsl2.kernel" not in {effect.key for effect in report("").effects}

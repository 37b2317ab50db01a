"""Whether a .wslconfig took effect: what it asks for against what Linux shows, and why the two differ.

Pure rules on facts that are handed in (`wsl_vm.VmFacts`). Follows the reference wslconfig-keys.json (limits, fallbacks,
policies) and wsl-exe §5 and §7. A key that the file does not set is compared with WSL's default, but cannot fail.
"""

from __future__ import annotations

from dataclasses import dataclass

from kotaro_bridge.domain.errors import Param, Problem, problem
from kotaro_bridge.domain.units import MIB, format_gib
from kotaro_bridge.domain.wsl.wsl_vm import VmFacts
from kotaro_bridge.domain.wsl.wslconfig_advice import lint
from kotaro_bridge.domain.wsl.wslconfig_document import Document
from kotaro_bridge.domain.wsl.wslconfig_effect import Effect, EffectReport
from kotaro_bridge.domain.wsl.wslconfig_findings import Advice
from kotaro_bridge.domain.wsl.wslconfig_recommend import (
    SWAP_NOT_SET,
    HostFacts,
    effective_memory,
    effective_swap,
    networking_mode,
)
from kotaro_bridge.domain.wsl.wslconfig_values import Value, canonical, format_value, number

_MISSING_SHARE, _MISSING_BYTES = 32, 256 * MIB
"""`MemTotal` is what Linux can hand out: the VM's memory less what was set aside before. That is 64 bytes for each page
of 4 KiB (a 64th), and about 100 MiB whatever the size: the kernel's image, its early tables, 64 MiB of bounce buffers.
People's reports: 234 MiB are missing of 8 GiB (microsoft/WSL issue 6030), at most 395 MiB of 12 GiB (issue 9636). Twice
as much is allowed, for other kernels."""
_SWAP_SLACK_BYTES = 4 * MIB
"""The header of the swap disk, and rounding."""
_PROXIES = frozenset({"VirtioProxy", "Consomme"})
"""One mode under two names since WSL 2.9 (reference wslconfig-keys.json)."""
_MISPLACED = frozenset({Advice.NO_SECTION, Advice.WRONG_SECTION, Advice.NEAR_MISS})


def prove(document: Document, host: HostFacts, shown: VmFacts, *, reached: bool | None, waits: bool) -> EffectReport:
    """Compare a file with the VM that runs.

    Args:
        reached: what `WslVm.reaches` said; waits: the VM began before the file was as it is now.
    """
    proof = _Proof(document, host, shown, waits)
    effects = [proof.memory(), proof.processors(), proof.swap(), proof.networking(), proof.port(reached)]
    return EffectReport((*effects, *proof.kernel()))


@dataclass(frozen=True, slots=True)
class _Ignored:
    """A line that is meant to set a key, and that WSL does not take."""

    line: int
    text: str


class _Proof:
    """The rules, each key by itself."""

    def __init__(self, document: Document, host: HostFacts, shown: VmFacts, waits: bool) -> None:
        self._document = document
        self._values = document.config.values
        self._host = host
        self._shown = shown
        self._waits = waits
        self._advice = lint(document, host).advice
        self._mode = networking_mode(self._values, host)

    def memory(self) -> Effect:
        key, found = "wsl2.memory", self._shown.memory_bytes
        asked, expected = number(self._values, key) or 0, effective_memory(self._values, self._host)
        text = "" if found is None else format_gib(found)
        if found is None or expected is None:
            return self._untold(key, asked or None, text)
        fits = expected - expected // _MISSING_SHARE - _MISSING_BYTES <= found <= expected
        capped = None
        if asked > expected:
            capped = problem("wslconfig.effect.memory_capped", host_bytes=expected)
        elif 0 < asked < expected:
            capped = problem("wslconfig.effect.memory_raised", least_bytes=expected)
        less = problem("wslconfig.effect.memory_less", *self._shown.said) if found < expected else None
        return self._compared(key, asked or None, expected, text, fits, less, capped)

    def processors(self) -> Effect:
        key, found = "wsl2.processors", self._shown.processors
        asked, host = max(0, number(self._values, key) or 0), self._host.processors
        expected = min(asked or host, host) if host is not None else asked
        text = "" if found is None else str(found)
        if found is None or not expected:
            return self._untold(key, asked or None, text)
        capped = problem("wslconfig.effect.processors_capped", host=expected) if asked > expected else None
        return self._compared(key, asked or None, expected, text, found == expected, None, capped)

    def swap(self) -> Effect:
        key, found = "wsl2.swap", self._shown.swap_bytes
        asked = number(self._values, key)
        asked = None if asked == SWAP_NOT_SET else asked
        expected = effective_swap(self._values, self._host)
        text = "" if found is None else format_gib(found)
        if found is None or expected is None:
            return self._untold(key, asked, text)
        fits = abs(found - expected) <= _SWAP_SLACK_BYTES
        none = problem("wslconfig.effect.swap_not_made", *self._shown.said) if not found else None
        return self._compared(key, asked, expected, text, fits, none, self._safe_mode(bool(asked) and expected == 0))

    def networking(self) -> Effect:
        key, found = "wsl2.networkingMode", self._shown.networking
        asked = self._values.get(key)
        if found is None:
            return self._untold(key, asked, "", "wslconfig.effect.no_wslinfo")
        fits = found == self._mode or {found, self._mode} <= _PROXIES
        why = self._policy(key)
        if why is None and self._mode == "Mirrored" and found == "Nat":
            why = problem("wslconfig.effect.fallback_nat", *self._shown.said)
        elif why is None and self._mode == "Nat" and found in (*_PROXIES, "None"):
            why = problem("wslconfig.effect.fallback_other", *self._shown.said, found=found)
        safe = self._safe_mode(asked is not None and asked != self._mode)
        return self._compared(
            key, asked, self._mode, found, fits, why or problem("wslconfig.effect.policy_maybe"), safe
        )

    def port(self, reached: bool | None) -> Effect:
        """Whether Windows reaches a port inside. That one is *not* reached is not looked for."""
        key = "wsl2.localhostForwarding"
        asked, mode = self._values.get(key), self._shown.networking or self._mode
        text = "" if reached is None else format_value(key, reached)
        if mode == "None" or (asked is False and mode != "Mirrored"):
            return self._untold(key, asked, "", "wslconfig.effect.port_off")
        if reached is None:
            return self._untold(key, asked, "", "wslconfig.effect.port_not_checked")
        return self._compared(key, True, True, text, reached, problem("wslconfig.effect.port_silent"))

    def kernel(self) -> tuple[Effect, ...]:
        """The kernel and its command line, where the file names them."""
        effects = []
        key, line = "wsl2.kernelCommandLine", self._shown.command_line
        asked = self._values.get(key)
        if asked is not None and line is None:
            effects.append(self._untold(key, asked, ""))
        elif line is not None and (asked is not None or self._ignored(key) is not None):
            fits = f" {' '.join(str(asked).split())} " in f" {' '.join(line.split())} "
            why = self._policy(key) or problem("wslconfig.effect.policy_maybe")
            effects.append(self._compared(key, asked, str(asked), line, fits, why))
        if kernel := self._values.get("wsl2.kernel"):
            found = self._shown.release or ""
            effects.append(self._untold("wsl2.kernel", kernel, found, "wslconfig.effect.kernel"))
        return tuple(effects)

    def _compared(
        self,
        key: str,
        asked: Value | None,
        expected: Value,
        found: str,
        fits: bool,
        why: Problem | None,
        capped: Problem | None = None,
    ) -> Effect:
        """The answer where both sides are known.

        Args:
            asked: what the file sets, None where it sets nothing; expected: what WSL makes of that.
            why: what explains a difference; capped: why `expected` is not what was asked.
        """
        ignored = self._ignored(key)
        if ignored is not None:
            return Effect(key, ignored.text, found, False, self._why("ignored", line=ignored.line))
        wanted = format_value(key, expected if asked is None else asked)
        if fits:
            return Effect(key, wanted, found, capped is None, capped)
        if asked is None:
            return Effect(key, wanted, found, None, self._why("waits" if self._waits else "not_set"))
        if self._waits:
            return Effect(key, wanted, found, False, self._why("waits"))
        return Effect(key, wanted, found, False, why or self._why("differs"))

    def _untold(self, key: str, asked: Value | None, found: str, code: str = "wslconfig.effect.not_told") -> Effect:
        return Effect(key, "" if asked is None else format_value(key, asked), found, None, problem(code))

    def _safe_mode(self, differs: bool) -> Problem | None:
        """Why a setting counts for nothing, where safe mode overrules it."""
        return self._why("safe_mode") if differs and self._values.get("wsl2.safeMode") else None

    def _why(self, name: str, **params: Param) -> Problem:
        return problem(f"wslconfig.effect.{name}", **params)

    def _policy(self, key: str) -> Problem | None:
        """A policy of the computer, where WSL named the key when the VM started: its sentence is translated, the key is
        not. The parser names keys too, but it does not surprise us."""
        said = tuple(line for line in self._shown.said if key in line)
        by_parser = any(canonical(word) == key for warning in self._document.config.warnings for word in warning)
        return problem("wslconfig.effect.policy", *said) if said and not by_parser else None

    def _ignored(self, key: str) -> _Ignored | None:
        """The line by which somebody means to set a key that WSL takes no value for."""
        if key in self._values:
            return None
        entry = self._document.entry(key)
        if entry is not None and entry.value_end > entry.value_start:
            return _Ignored(entry.line, self._document.text[entry.value_start : entry.value_end])
        for finding in self._advice:
            if finding.key == key and finding.code in _MISPLACED and finding.line is not None:
                return _Ignored(finding.line, self._document.text.split("\n")[finding.line - 1].strip())
        return None

"""Findings about a .wslconfig: what WSL will complain of, in its words, and our advice beside it.

Owns the vocabulary and the order. `wslconfig_mistakes.py` finds what WSL does not understand, `wslconfig_advice.py`
judges what it does. Sentences are `wslconfig.advice.<code>` of the catalogues of texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from string import ascii_lowercase

from kotaro_bridge.domain.errors import EMPTY, Param, Problem
from kotaro_bridge.domain.wsl.wslconfig_reading import Warning_
from kotaro_bridge.domain.wsl.wslconfig_values import Value, number


class Weight(StrEnum):
    """How much a finding matters: not what was meant; works with a price; good to know."""

    WRONG = "wrong"
    RISKY = "risky"
    HINT = "hint"


class Advice(StrEnum):
    """What there is to say."""

    # The file as a whole
    UTF16 = "utf16"
    UTF16_UNREAD = "utf16_unread"
    NOT_UTF8 = "not_utf8"
    NUL = "nul"
    CONTROL_Z = "control_z"
    JUNK = "junk"
    BOM = "bom"
    # What WSL does not understand
    NO_SECTION = "no_section"
    WRONG_SECTION = "wrong_section"
    SECTION_NEAR = "section_near"
    SECTION_UNKNOWN = "section_unknown"
    SECTION_SPOILED = "section_spoiled"
    NEAR_MISS = "near_miss"
    REMOVED_KEY = "removed_key"
    DUPLICATE = "duplicate"
    VALUE_MEANT = "value_meant"
    COMMENT_MARK = "comment_mark"
    BACKSLASH = "backslash"
    MAC = "mac"
    # What it takes for something else than was meant
    BACKSLASH_SILENT = "backslash_silent"
    NON_ASCII = "non_ascii"
    OCTAL = "octal"
    TINY_SIZE = "tiny_size"
    # What it takes, and what comes of it
    MEMORY_ABOVE_HOST = "memory_above_host"
    MEMORY_LEAVES_LITTLE = "memory_leaves_little"
    MEMORY_RAISED = "memory_raised"
    MEMORY_ZERO = "memory_zero"
    MEMORY_BELOW_MODEL = "memory_below_model"
    PROCESSORS_ABOVE_HOST = "processors_above_host"
    SWAP_OVER_DISK = "swap_over_disk"
    LOCALHOST_MIRRORED = "localhost_mirrored"
    LOCALHOST_OFF = "localhost_off"
    NETWORK_NONE = "network_none"
    MODE_BRIDGED = "mode_bridged"
    MODE_BY_VERSION = "mode_by_version"
    SWITCH_MISSING = "switch_missing"
    ONLY_MIRRORED = "only_mirrored"
    ONLY_BRIDGED = "only_bridged"
    IDLE_STOPS = "idle_stops"
    IDLE_NEVER = "idle_never"
    VM_NEVER = "vm_never"
    GPU_OFF = "gpu_off"
    SAFE_MODE = "safe_mode"
    DRIVES_OFF = "drives_off"
    CUSTOM_KERNEL = "custom_kernel"
    MODULES_ALONE = "modules_alone"
    RECLAIM_GRADUAL = "reclaim_gradual"
    VIRTIO9P = "virtio9p"
    SPARSE_VHD = "sparse_vhd"
    EQUALS_DEFAULT = "equals_default"


@dataclass(frozen=True, slots=True)
class Finding:
    """One piece of advice.

    Args:
        line: counted from 1, as WSL counts; None where it is about no line.
        key: canonical name of the setting it is about; None where it is about none.
    """

    code: Advice
    weight: Weight
    line: int | None = None
    key: str | None = None
    params: Mapping[str, Param] = field(default_factory=lambda: EMPTY)

    @property
    def message(self) -> Problem:
        """As a code for the catalogue of texts."""
        return Problem(f"wslconfig.advice.{self.code}", self.params)


class Findings:
    """Collects findings."""

    def __init__(self) -> None:
        self._found: list[Finding] = []

    def add(
        self, code: Advice, weight: Weight, line: int | None = None, key: str | None = None, /, **params: Param
    ) -> None:
        """Keep one."""
        self._found.append(Finding(code, weight, line, key, params))

    def sorted(self) -> tuple[Finding, ...]:
        """By line, those about no line first."""
        return tuple(sorted(self._found, key=lambda finding: finding.line or 0))


def after_reading(values: Mapping[str, Value], mode: str, host_processors: int | None) -> tuple[Warning_, ...]:
    """What WSL says of the values when it creates the VM, after the warnings of its parser.

    Args:
        mode: the networking mode, in canonical spelling; host_processors: None where they are not known.
    """
    found: list[Warning_] = []
    processors = number(values, "wsl2.processors")
    if processors is not None and host_processors is not None and processors > host_processors:
        found.append(("MessageTooManyProcessors", str(processors), str(host_processors)))
    if values.get("wsl2.safeMode"):
        found.append(("MessageSafeModeEnabled",))
    elif values.get("wsl2.virtio9p") and values.get("wsl2.virtio") is not False:
        found.append(("MessageConfigVirtio9pDisabled",))
    if values.get("experimental.sparseVhd"):
        found.append(("MessageSparseVhdDisabled",))
    if mode == "Mirrored" and "wsl2.localhostForwarding" in values:
        found.append(("MessageLocalhostForwardingNotSupportedMirroredMode",))
    return tuple(found)


def in_words(warning: Warning_) -> Problem:
    """A message of WSL as a code for the catalogue of texts; its values are named a, b, c in call order."""
    return Problem(f"wslconfig.wsl.{warning[0]}", dict(zip(ascii_lowercase, warning[1:], strict=False)))


def start_failures(values: Mapping[str, Value], mode: str) -> tuple[Warning_, ...]:
    """What keeps the VM from starting, as far as the file alone tells."""
    found: list[Warning_] = []
    alone = "wsl2.kernelModules" in values and "wsl2.kernel" not in values
    if alone and not values.get("wsl2.safeMode"):
        found.append(("MessageMismatchedKernelModulesError",))
    if mode == "Bridged" and "wsl2.vmSwitch" not in values:
        found.append(("MessageVmSwitchNotSet",))
    return tuple(found)

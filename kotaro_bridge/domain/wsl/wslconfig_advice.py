"""What comes of a .wslconfig on this PC: WSL's warnings, and our advice on top.

Owns the judgement of what WSL understands; `wslconfig_mistakes.py` has what it does not. Must not read files or the PC:
facts are handed in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kotaro_bridge.domain.errors import Param
from kotaro_bridge.domain.units import GIB, MIB
from kotaro_bridge.domain.wsl.wslconfig_catalogue import ONLY_BRIDGED, ONLY_MIRRORED, USUAL_IDLE_MS
from kotaro_bridge.domain.wsl.wslconfig_document import Document, Encoding
from kotaro_bridge.domain.wsl.wslconfig_findings import (
    Advice,
    Finding,
    Findings,
    Weight,
    after_reading,
    start_failures,
)
from kotaro_bridge.domain.wsl.wslconfig_keys import KEY_TYPES, KeyType
from kotaro_bridge.domain.wsl.wslconfig_mistakes import find_mistakes
from kotaro_bridge.domain.wsl.wslconfig_reading import Entry, Warning_
from kotaro_bridge.domain.wsl.wslconfig_recommend import (
    LOAD_HEADROOM_GIB,
    MIN_MEMORY_BYTES,
    NOTHING_KNOWN,
    HostFacts,
    default_value,
    effective_memory,
    effective_swap,
    memory_limits,
    networking_mode,
)
from kotaro_bridge.domain.wsl.wslconfig_values import Value, format_value, number

_OCTAL = re.compile(r"[+-]?0[0-7]+\Z")


@dataclass(frozen=True, slots=True)
class Lint:
    """What there is to say of a file.

    Args:
        values: keys that are validly set, by canonical name.
        wsl_warnings: what WSL prints when it creates the VM with this file, and what keeps it from doing so.
    """

    values: Mapping[str, Value]
    wsl_warnings: tuple[Warning_, ...]
    advice: tuple[Finding, ...]


def lint(document: Document, facts: HostFacts = NOTHING_KNOWN) -> Lint:
    """Everything there is to say of a file on this PC."""
    config = document.config
    values, mode = config.values, networking_mode(config.values, facts)
    spoken = config.warnings + after_reading(values, mode, facts.processors) + start_failures(values, mode)
    if config.fatal:
        spoken = (*config.warnings, config.fatal)
    found = Findings()
    _whole_file(document, found)
    find_mistakes(document, found)
    judge = _Judge(document, facts, found)
    judge.texts()
    judge.sizes()
    judge.network(mode)
    judge.idle()
    judge.switches()
    judge.defaults()
    return Lint(values, spoken, found.sorted())


def _whole_file(document: Document, found: Findings) -> None:
    for caveat in document.caveats:
        found.add(Advice(caveat.value), Weight.RISKY, 1)
    if document.encoding is Encoding.UTF8_BOM:
        found.add(Advice.BOM, Weight.HINT, 1)


class _Judge:
    """The rules on values. `_say` knows the line of a key."""

    def __init__(self, document: Document, facts: HostFacts, found: Findings) -> None:
        self._values = document.config.values
        self._text = document.text
        self._facts = facts
        self._found = found
        self._entries: dict[str, Entry] = {entry.key: entry for entry in document.reading.entries if entry.taken}

    def _say(self, code: Advice, weight: Weight, key: str, /, **params: Param) -> None:
        entry = self._entries.get(key)
        self._found.add(code, weight, entry.line if entry else None, key, **params)

    def texts(self) -> None:
        """Values that WSL takes for something else than they look like."""
        for key, value in self._values.items():
            entry = self._entries[key]
            raw = self._text[entry.value_start : entry.value_end]
            if not raw.isascii():
                self._say(Advice.NON_ASCII, Weight.WRONG, key, key=key)
            elif KEY_TYPES[key] is KeyType.PATH and any(char in str(value) for char in "\b\n\t"):
                self._say(Advice.BACKSLASH_SILENT, Weight.WRONG, key, key=key)
            elif KEY_TYPES[key] is KeyType.INT and _OCTAL.match(raw):
                self._say(Advice.OCTAL, Weight.RISKY, key, key=key, text=raw, value=str(value))
            elif KEY_TYPES[key] is KeyType.SIZE and key != "wsl2.memory" and 0 < (number(self._values, key) or 0) < MIB:
                self._say(Advice.TINY_SIZE, Weight.WRONG, key, key=key, text=raw)

    def sizes(self) -> None:
        """Memory, processors and swap against what the PC has and the models need."""
        memory, ram = number(self._values, "wsl2.memory"), self._facts.ram_bytes
        if memory is not None:
            self._memory(memory, ram)
        effective = effective_memory(self._values, self._facts)
        for model in self._facts.models:
            need = model.size_bytes + LOAD_HEADROOM_GIB * GIB
            if effective is not None and need > effective:
                sizes = {"need_bytes": need, "memory_bytes": effective}
                self._say(Advice.MEMORY_BELOW_MODEL, Weight.RISKY, "wsl2.memory", model=model.name, **sizes)
        processors, host = number(self._values, "wsl2.processors"), self._facts.processors
        if processors is not None and host is not None and processors > host:
            self._say(Advice.PROCESSORS_ABOVE_HOST, Weight.WRONG, "wsl2.processors", value=str(processors), host=host)
        swap, free = effective_swap(self._values, self._facts), self._facts.swap_disk_free_bytes
        if swap is not None and free is not None and swap > free and "wsl2.swapFile" not in self._values:
            self._say(Advice.SWAP_OVER_DISK, Weight.RISKY, "wsl2.swap", swap_bytes=swap, free_bytes=free)

    def _memory(self, memory: int, ram: int | None) -> None:
        key = "wsl2.memory"
        limits = memory_limits(ram) if ram is not None else None
        if memory == 0:
            self._say(Advice.MEMORY_ZERO, Weight.WRONG, key)
        elif memory < MIN_MEMORY_BYTES:
            self._say(Advice.MEMORY_RAISED, Weight.WRONG, key, memory_bytes=memory)
        elif ram is not None and memory > ram:
            self._say(Advice.MEMORY_ABOVE_HOST, Weight.WRONG, key, memory_bytes=memory, host_bytes=ram)
        elif ram is not None and limits is not None and memory > limits[1]:
            sizes = {"memory_bytes": memory, "left_bytes": ram - memory, "most_bytes": limits[1]}
            self._say(Advice.MEMORY_LEAVES_LITTLE, Weight.RISKY, key, **sizes)

    def network(self, mode: str) -> None:
        """How Windows and the engine reach each other."""
        if self._values.get("wsl2.safeMode"):
            return  # which has no network, whatever else is set
        forwarding = self._values.get("wsl2.localhostForwarding")
        if mode == "Mirrored" and forwarding is not None:
            self._say(Advice.LOCALHOST_MIRRORED, Weight.HINT, "wsl2.localhostForwarding")
        elif forwarding is False:
            self._say(Advice.LOCALHOST_OFF, Weight.RISKY, "wsl2.localhostForwarding")
        if mode == "None":
            self._say(Advice.NETWORK_NONE, Weight.RISKY, "wsl2.networkingMode")
        elif mode == "Bridged":
            self._say(Advice.MODE_BRIDGED, Weight.RISKY, "wsl2.networkingMode")
            if "wsl2.vmSwitch" not in self._values:
                self._say(Advice.SWITCH_MISSING, Weight.WRONG, "wsl2.networkingMode")
        elif mode in ("VirtioProxy", "Consomme"):
            self._say(Advice.MODE_BY_VERSION, Weight.HINT, "wsl2.networkingMode", mode=mode)
        for code, keys, wanted in (
            (Advice.ONLY_MIRRORED, ONLY_MIRRORED, "Mirrored"),
            (Advice.ONLY_BRIDGED, ONLY_BRIDGED, "Bridged"),
        ):
            for key in self._values.keys() & keys if mode != wanted else ():
                self._say(code, Weight.HINT, key, key=key, mode=mode)

    def idle(self) -> None:
        """What the time-outs mean for an engine that runs."""
        key = "general.instanceIdleTimeout"
        instance, vm = number(self._values, key), number(self._values, "wsl2.vmIdleTimeout")
        if instance is not None and instance < 0:
            self._say(Advice.IDLE_NEVER, Weight.HINT, key)
        elif instance is not None:
            weight = Weight.RISKY if instance < USUAL_IDLE_MS else Weight.HINT
            self._say(Advice.IDLE_STOPS, weight, key, seconds=f"{instance / 1000:g}")
        if vm is not None and vm < 0:
            self._say(Advice.VM_NEVER, Weight.HINT, "wsl2.vmIdleTimeout")

    def switches(self) -> None:
        """Single keys that take something away, or that WSL ignores."""
        for key, value, code, weight in (
            ("wsl2.gpuSupport", False, Advice.GPU_OFF, Weight.WRONG),
            ("wsl2.safeMode", True, Advice.SAFE_MODE, Weight.WRONG),
            ("wsl2.hostFileSystemAccess", False, Advice.DRIVES_OFF, Weight.RISKY),
            ("wsl2.virtio9p", True, Advice.VIRTIO9P, Weight.WRONG),
            ("experimental.sparseVhd", True, Advice.SPARSE_VHD, Weight.WRONG),
            ("experimental.autoMemoryReclaim", "Gradual", Advice.RECLAIM_GRADUAL, Weight.RISKY),
        ):
            if self._values.get(key) == value:
                self._say(code, weight, key)
        if "wsl2.kernel" in self._values:
            self._say(Advice.CUSTOM_KERNEL, Weight.RISKY, "wsl2.kernel")
        elif "wsl2.kernelModules" in self._values:
            self._say(Advice.MODULES_ALONE, Weight.WRONG, "wsl2.kernelModules")

    def defaults(self) -> None:
        """Lines that say what WSL does anyway."""
        for key, value in self._values.items():
            if value == default_value(key, self._values, self._facts):
                self._say(Advice.EQUALS_DEFAULT, Weight.HINT, key, key=key, value=format_value(key, value))

"""The keys of .wslconfig by type. Data only (reference wslconfig-keys.json, kept as `resources/wslconfig/keys.json`;
a test holds the two together). `wslconfig.py` parses with it.
"""

from __future__ import annotations

from enum import Enum


class KeyType(Enum):
    """How a value is read (reference wslconfig-keys.json, `types`)."""

    BOOL = "bool"
    INT = "int"
    SIZE = "size"
    STRING = "string"
    PATH = "path"
    ENUM = "enum"
    IPV4 = "ipv4"
    MAC = "mac"
    LIST = "list"


_NAMES = {
    KeyType.BOOL: (
        "wsl2.debugConsole wsl2.earlyBootLogging wsl2.localhostForwarding wsl2.nestedVirtualization "
        "wsl2.virtio9p wsl2.virtiofs wsl2.gpuSupport wsl2.guiApplications wsl2.telemetry wsl2.virtio "
        "wsl2.hostFileSystemAccess wsl2.hardwarePerformanceCounters wsl2.dhcp wsl2.ipv6 wsl2.dnsProxy "
        "wsl2.safeMode wsl2.dnsTunneling wsl2.firewall wsl2.autoProxy wsl2.loadDefaultKernelModules "
        "wsl2.isolateDistroCgroup experimental.sparseVhd experimental.bestEffortDnsParsing "
        "experimental.hostAddressLoopback experimental.setVersionDebug experimental.virtioFsAggregateShares"
    ),
    KeyType.INT: (
        "wsl2.processors wsl2.kernelDebugPort wsl2.vmIdleTimeout wsl2.kernelBootTimeout "
        "wsl2.distributionStartTimeout wsl2.mountDeviceTimeout wsl2.dhcpTimeout wsl2.maxCrashDumpCount "
        "general.instanceIdleTimeout experimental.initialAutoProxyTimeout"
    ),
    KeyType.SIZE: ("wsl2.memory wsl2.swap wsl2.defaultVhdSize experimental.swiotlb"),
    KeyType.STRING: ("wsl2.kernelCommandLine wsl2.vmSwitch"),
    KeyType.PATH: (
        "wsl2.kernel wsl2.kernelModules wsl2.swapFile wsl2.systemDistro wsl2.debugConsoleLogFile "
        "wsl2.crashDumpFolder general.distributionInstallPath"
    ),
    KeyType.ENUM: ("wsl2.networkingMode experimental.autoMemoryReclaim"),
    KeyType.IPV4: ("experimental.dnsTunnelingIpAddress"),
    KeyType.MAC: ("wsl2.macAddress"),
    KeyType.LIST: ("wsl2.loadKernelModules experimental.ignoredPorts"),
}

KEY_TYPES: dict[str, KeyType] = {name: kind for kind, names in _NAMES.items() for name in names.split()}
"""Canonical name, `section.key`, to type."""

ENUM_WORDS: dict[str, tuple[str, ...]] = {
    "wsl2.networkingMode": ("None", "Nat", "Bridged", "Mirrored", "VirtioProxy", "Consomme"),
    "experimental.autoMemoryReclaim": ("Disabled", "Gradual", "DropCache"),
}
"""The words of enum keys in canonical spelling."""

ALIASES: dict[str, str] = {
    "experimental.networkingMode": "wsl2.networkingMode",
    "experimental.dnsTunneling": "wsl2.dnsTunneling",
    "experimental.firewall": "wsl2.firewall",
    "experimental.autoProxy": "wsl2.autoProxy",
}
"""Second name of a key to its canonical name: one key, so one of them is a duplicate of the other."""

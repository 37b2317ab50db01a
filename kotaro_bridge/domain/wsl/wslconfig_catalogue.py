"""What is known of each key of .wslconfig beside its type: its default, where it works, who may overrule it.

Data only (reference wslconfig-keys.json; a test holds the two together). Sentences about the keys are
`wslconfig.key.<name>` of the catalogues of texts.
"""

from __future__ import annotations

from kotaro_bridge.domain.units import GIB
from kotaro_bridge.domain.wsl.wslconfig_keys import KEY_TYPES, KeyType
from kotaro_bridge.domain.wsl.wslconfig_values import Value

MAIN_KEYS = (
    "wsl2.memory",
    "wsl2.swap",
    "wsl2.processors",
    "wsl2.localhostForwarding",
    "wsl2.networkingMode",
    "general.instanceIdleTimeout",
    "wsl2.vmIdleTimeout",
    "experimental.autoMemoryReclaim",
    "wsl2.guiApplications",
    "wsl2.kernelCommandLine",
)
"""The keys that a person with one card may need, in the order of the dialog; the others are "All settings"."""

USUAL_IDLE_MS = 15_000
"""WSL's own `instanceIdleTimeout`: a clean stop of an engine fits into it."""

VM_IDLE_MS = 60_000
"""WSL's own `vmIdleTimeout`: what the VM outlives its last distro by."""

_ON = frozenset(
    {
        "wsl2.localhostForwarding",
        "wsl2.gpuSupport",
        "wsl2.guiApplications",
        "wsl2.telemetry",
        "wsl2.hostFileSystemAccess",
        "wsl2.dhcp",
        "wsl2.dnsProxy",
        "wsl2.dnsTunneling",
        "wsl2.firewall",
        "wsl2.autoProxy",
        "wsl2.loadDefaultKernelModules",
        "wsl2.isolateDistroCgroup",
        "experimental.virtioFsAggregateShares",
    }
)
_BY_PC = frozenset({"wsl2.nestedVirtualization", "wsl2.virtio", "wsl2.hardwarePerformanceCounters"})

DEFAULTS: dict[str, Value] = {
    **{key: key in _ON for key, kind in KEY_TYPES.items() if kind is KeyType.BOOL and key not in _BY_PC},
    "wsl2.kernelDebugPort": 0,
    "wsl2.vmIdleTimeout": VM_IDLE_MS,
    "wsl2.kernelBootTimeout": 30_000,
    "wsl2.distributionStartTimeout": 60_000,
    "wsl2.mountDeviceTimeout": 5_000,
    "wsl2.dhcpTimeout": 5_000,
    "wsl2.maxCrashDumpCount": 10,
    "wsl2.defaultVhdSize": 1024 * GIB,
    "wsl2.networkingMode": "Nat",
    "general.instanceIdleTimeout": USUAL_IDLE_MS,
    "experimental.autoMemoryReclaim": "DropCache",
    "experimental.dnsTunnelingIpAddress": "10.255.255.254",
    "experimental.initialAutoProxyTimeout": 1_000,
    "experimental.swiotlb": 0,
}
"""Defaults that are the same on every PC. Those of `memory`, `processors` and `swap` are computed
(`wslconfig_recommend.default_value`); other keys that are not here have none, or an empty one."""

MILLISECONDS = frozenset(
    key for key, kind in KEY_TYPES.items() if kind is KeyType.INT and key.lower().endswith("timeout")
)
"""Keys that count milliseconds."""

BY_POLICY = frozenset(
    {
        "wsl2.kernel",
        "wsl2.kernelCommandLine",
        "wsl2.kernelModules",
        "wsl2.nestedVirtualization",
        "wsl2.kernelDebugPort",
        "wsl2.systemDistro",
        "wsl2.networkingMode",
        "wsl2.firewall",
    }
)
"""Keys that a policy of the computer can overrule."""

ONLY_MIRRORED = frozenset({"experimental.ignoredPorts", "experimental.hostAddressLoopback"})
ONLY_BRIDGED = frozenset({"wsl2.vmSwitch", "wsl2.macAddress", "wsl2.dhcp", "wsl2.dhcpTimeout", "wsl2.ipv6"})
"""Keys without effect in another networking mode."""

REMOVED = {
    "wsl2.pagereporting": "wsl2.pageReporting",
    "wsl2.idlethreshold": "wsl2.idleThreshold",
    "experimental.usewindowsdnscache": "experimental.useWindowsDnsCache",
}
"""Keys that WSL had and no longer knows; lower case to spelling."""

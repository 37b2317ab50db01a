"""Which display adapters of Windows are NVIDIA cards, by the LUID that performance counters name them with.

Asked of the graphics kernel (gdi32, D3DKMT), since neither NVML nor the counters tie a card to its LUID. A laptop's own
graphics keep their whole memory in RAM: counted along, an open browser would look like a model that spills.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import c_int32, c_uint32, c_void_p

_NVIDIA = 0x10DE
_MAX_ADAPTERS = 64
_PHYSICAL_ADAPTER_DEVICE_IDS = 31  # KMTQAITYPE_PHYSICALADAPTERDEVICEIDS in d3dkmthk.h


class _AdapterInfo(ctypes.Structure):
    """D3DKMT_ADAPTERINFO."""

    _fields_ = [
        ("handle", c_uint32),
        ("luid_low", c_uint32),
        ("luid_high", c_int32),
        ("sources", c_uint32),
        ("precise", c_uint32),
    ]


class _EnumAdapters2(ctypes.Structure):
    """D3DKMT_ENUMADAPTERS2."""

    _fields_ = [("count", c_uint32), ("adapters", ctypes.POINTER(_AdapterInfo))]


class _DeviceIds(ctypes.Structure):
    """D3DKMT_QUERY_DEVICE_IDS."""

    _fields_ = [
        ("index", c_uint32),
        ("vendor", c_uint32),
        ("device", c_uint32),
        ("sub_vendor", c_uint32),
        ("sub_system", c_uint32),
        ("revision", c_uint32),
        ("bus", c_uint32),
    ]


class _QueryAdapterInfo(ctypes.Structure):
    """D3DKMT_QUERYADAPTERINFO."""

    _fields_ = [("handle", c_uint32), ("type", c_uint32), ("data", c_void_p), ("size", c_uint32)]


def nvidia_luids() -> frozenset[int] | None:
    """LUIDs of the NVIDIA cards; None where Windows does not tell (and on other systems)."""
    if sys.platform != "win32":
        return None
    gdi = ctypes.WinDLL("gdi32")
    adapters = (_AdapterInfo * _MAX_ADAPTERS)()
    listing = _EnumAdapters2(_MAX_ADAPTERS, adapters)
    try:
        if gdi.D3DKMTEnumAdapters2(ctypes.byref(listing)) != 0:
            return None
        found = list(adapters[: listing.count])
        luids = {(a.luid_high << 32 | a.luid_low) for a in found if _vendor(gdi, a.handle) == _NVIDIA}
        for adapter in found:
            gdi.D3DKMTCloseAdapter(ctypes.byref(c_uint32(adapter.handle)))
    except AttributeError:  # a gdi32 without these functions
        return None
    return frozenset(luids) or None


def _vendor(gdi: ctypes.CDLL, handle: int) -> int:
    ids = _DeviceIds()
    query = _QueryAdapterInfo(
        handle, _PHYSICAL_ADAPTER_DEVICE_IDS, ctypes.cast(ctypes.byref(ids), c_void_p), ctypes.sizeof(ids)
    )
    return int(ids.vendor) if gdi.D3DKMTQueryAdapterInfo(ctypes.byref(query)) == 0 else 0

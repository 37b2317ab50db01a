"""The few functions of WinHTTP that say which proxy Windows wants used. Windows only.

Source: learn.microsoft.com, winhttp.h: `WINHTTP_CURRENT_USER_IE_PROXY_CONFIG`, `WINHTTP_AUTOPROXY_OPTIONS`,
`WINHTTP_PROXY_INFO`; strings are freed with `GlobalFree`.
"""

from __future__ import annotations

import ctypes
import logging
import sys
from typing import Any

log = logging.getLogger(__name__)

_NO_PROXY = 1
_AUTO_DETECT, _CONFIG_URL = 1, 2
_BY_DHCP_AND_DNS = 3
_LOGIN_FAILED = 12015  # the script's server asks who we are


class _Settings(ctypes.Structure):
    _fields_ = (
        ("detect", ctypes.c_int),
        ("script", ctypes.c_void_p),
        ("proxy", ctypes.c_void_p),
        ("bypass", ctypes.c_void_p),
    )


class _Options(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint32),
        ("detect_flags", ctypes.c_uint32),
        ("script", ctypes.c_wchar_p),
        ("reserved", ctypes.c_void_p),
        ("reserved_number", ctypes.c_uint32),
        ("log_in", ctypes.c_int),
    )


class _Found(ctypes.Structure):
    _fields_ = (("access", ctypes.c_uint32), ("proxy", ctypes.c_void_p), ("bypass", ctypes.c_void_p))


def settings() -> tuple[bool, str, str, str]:
    """This user's settings: detect a script, its address, fixed proxy, exceptions; "" for none."""
    found = _Settings()
    if not _call("WinHttpGetIEProxyConfigForCurrentUser", ctypes.byref(found)):
        return False, "", "", ""
    return bool(found.detect), _taken(found.script), _taken(found.proxy), _taken(found.bypass)


def proxy_for(url: str, *, detect: bool, script: str) -> str | None:
    """What the script says of an address: proxies, "" for straight; None if no script is found or it does not answer.

    Blocks for seconds where it has to be looked for first; Windows remembers what it found.
    """
    session = _call("WinHttpOpen", None, _NO_PROXY, None, None, 0, result=ctypes.c_void_p)
    if not session:
        return None
    options = _Options()
    options.flags = (_AUTO_DETECT if detect else 0) | (_CONFIG_URL if script else 0)
    options.detect_flags = _BY_DHCP_AND_DNS if detect else 0
    options.script = script or None
    handle = ctypes.c_void_p(session)
    try:
        for log_in in (0, 1):
            options.log_in = log_in
            found = _Found()
            if _call("WinHttpGetProxyForUrl", handle, url, ctypes.byref(options), ctypes.byref(found)):
                proxy = _taken(found.proxy)
                _taken(found.bypass)
                return "" if found.access == _NO_PROXY else proxy
            error = _last_error()
            if error != _LOGIN_FAILED:
                log.info("no proxy script: WinHTTP error %s", error)
                return None
        return None
    finally:
        _call("WinHttpCloseHandle", handle)


def _call(name: str, *arguments: Any, result: Any = ctypes.c_int) -> Any:
    if sys.platform == "win32":
        function = getattr(ctypes.WinDLL("winhttp", use_last_error=True), name)
        function.restype = result
        return function(*arguments)
    raise OSError(name)


def _last_error() -> int:
    if sys.platform == "win32":
        return ctypes.get_last_error()
    return 0


def _taken(address: int | None) -> str:
    """A string that WinHTTP allocated, which is freed."""
    if not address:
        return ""
    text = ctypes.wstring_at(address)
    if sys.platform == "win32":
        free = ctypes.WinDLL("kernel32").GlobalFree
        free.argtypes = [ctypes.c_void_p]
        free(address)
    return text

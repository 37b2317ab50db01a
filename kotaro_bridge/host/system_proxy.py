"""Which way a request leaves this machine: straight, or through the proxy that the system names.

Owns the order: loopback never takes a proxy; the variables of the environment (`HTTPS_PROXY`, `NO_PROXY`) come first,
as everywhere; then, on Windows, what its settings say: detection, a PAC script, a fixed proxy and its exceptions.
Must not send a request of its own; that WinHTTP fetches the script is what the setting asks for.

Sources: learn.microsoft.com, `WinHttpGetIEProxyConfigForCurrentUser`, `WinHttpGetProxyForUrl` and `WINHTTP_PROXY_INFO`
(form of the lists), "INTERNET_PROXY_INFO" (`<local>`).
"""

from __future__ import annotations

import ipaddress
import re
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, TypeAlias
from urllib.parse import urlsplit

Ways: TypeAlias = tuple[str | None, ...]
"""Addresses of proxies in the order in which they are tried, None for straight."""

STRAIGHT: Final[Ways] = (None,)
_INTERNET: Final = r"Software\Microsoft\Windows\CurrentVersion\Internet Settings"
_BETWEEN = re.compile(r"[;\s]+")


@dataclass(frozen=True, slots=True)
class WindowsProxy:
    """What Windows' settings say.

    Args:
        detect: look for a script in the network (WPAD); script: address of a PAC script.
        fixed: the fixed proxy, or one per protocol; bypass: what goes straight all the same. "" for none.
    """

    detect: bool = False
    script: str = ""
    fixed: str = ""
    bypass: str = ""


def ways_out(url: str) -> Ways:
    """How a request for `url` leaves this machine. Blocks on Windows while it looks for a script; never raises."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if is_loopback(host):
        return STRAIGHT
    import urllib.request  # 2.2 MiB, for a program that asks once a day at most

    environment = urllib.request.getproxies_environment()
    if environment and urllib.request.proxy_bypass(host):
        return STRAIGHT
    named = environment.get(parts.scheme) or environment.get("all")
    if named:
        return (_with_scheme(named),)
    return _ways_of_windows(url, host) if sys.platform == "win32" else STRAIGHT


def is_loopback(host: str) -> bool:
    """True for this machine's own names and addresses."""
    if host in ("localhost", "") or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listed_ways(proxies: str, scheme: str) -> Ways:
    """The proxies of a list as Windows writes it, for a protocol.

    Args:
        proxies: `host:port`, several of them, or `http=host:port;https=host:port;socks=host:port`.
    """
    plain: list[str | None] = []
    chosen: list[str | None] = []
    socks: list[str | None] = []
    for word in filter(None, _BETWEEN.split(proxies)):
        protocol, equals, address = word.partition("=")
        if not equals:
            plain.append(_with_scheme(word))
        elif protocol.lower() == scheme:
            chosen.append(_with_scheme(address))
        elif protocol.lower() == "socks":
            socks.append(_with_scheme(address, "socks4"))
    return tuple(chosen or plain or socks) or STRAIGHT


def is_bypassed(host: str, port: int | None, bypass: str) -> bool:
    """True if a list of exceptions as Windows writes it names the host: `*.corp;10.*;host:8080;<local>`."""
    for word in filter(None, _BETWEEN.split(bypass.lower())):
        if word == "<local>":
            if "." not in host and ":" not in host:
                return True
            continue
        pattern = word.rpartition("://")[2].rstrip("/")
        if fnmatchcase(host, pattern) or (port is not None and fnmatchcase(f"{host}:{port}", pattern)):
            return True
    return False


def fixed_ways(settings: WindowsProxy, url: str) -> Ways:
    """The way by the fixed proxy of the settings."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    if not settings.fixed or is_bypassed((parts.hostname or "").lower(), port, settings.bypass):
        return STRAIGHT
    return listed_ways(settings.fixed, parts.scheme)


def _with_scheme(address: str, scheme: str = "http") -> str:
    return address if "://" in address else f"{scheme}://{address}"


def _ways_of_windows(url: str, host: str) -> Ways:
    if sys.platform == "win32":
        from kotaro_bridge.host import winhttp

        settings = windows_settings()
        if settings.detect or settings.script:
            found = winhttp.proxy_for(url, detect=settings.detect, script=settings.script)
            if found is not None:
                return listed_ways(found, urlsplit(url).scheme) if found else STRAIGHT
        return fixed_ways(settings, url)
    return STRAIGHT


def windows_settings() -> WindowsProxy:
    """What Windows' settings say to this user."""
    if sys.platform == "win32":
        from kotaro_bridge.host import winhttp

        detect, script, fixed, bypass = winhttp.settings()
        if not fixed:
            fixed, bypass = _registry()
        return WindowsProxy(detect, script, fixed, bypass)
    return WindowsProxy()


def _registry() -> tuple[str, str]:
    """Fixed proxy and exceptions as other programs write them, which WinHTTP may not have taken over yet."""
    if sys.platform == "win32":
        import winreg

        try:
            with winreg.OpenKey(winreg.HKEY_CURRENT_USER, _INTERNET) as key:
                if not winreg.QueryValueEx(key, "ProxyEnable")[0]:
                    return "", ""
                server = str(winreg.QueryValueEx(key, "ProxyServer")[0])
                try:
                    return server, str(winreg.QueryValueEx(key, "ProxyOverride")[0])
                except FileNotFoundError:
                    return server, ""
        except OSError:
            return "", ""
    return "", ""

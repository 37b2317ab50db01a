"""Text of wsl.exe: UTF-16LE without BOM unless `WSL_UTF8=1`, errors on stdout, a symbolic code on the last line.

Owns decoding and the codes. Facts: reference wsl-exe §0-§2. Sentences of wsl.exe are translated and are never parsed;
only the code after `Error code:` / `エラー コード:` is.
"""

from __future__ import annotations

import re

from kotaro_bridge.domain.errors import Problem, problem
from kotaro_bridge.domain.ports import Completed

WSL_FAILED = frozenset({-1, 255, 0xFFFFFFFF})
STUB_NOT_INSTALLED = 50
_CODE = re.compile(r"\b(Wsl(?:/[A-Za-z0-9_]+)+)\s*$", re.MULTILINE)
_HEAD = 200


def decode(data: bytes) -> str:
    """Text of wsl.exe or of a Linux program behind it, line ends normalised to LF.

    NULs in the odd bytes of the head, or a wide line end (Japanese text has few NULs), mean UTF-16LE: the in-box stub
    and old builds do not know WSL_UTF8.
    """
    head = data[:_HEAD]
    latin = b"\0" in head[1::2] and b"\0" not in head[0::2]
    wide = data.startswith(b"\xff\xfe") or latin or b"\r\0\n\0" in data
    text = data.decode("utf-16-le" if wide else "utf-8", "replace")
    return re.sub(r"\r+\n", "\n", text.removeprefix("\ufeff"))


def strip_wide(line: str) -> str:
    """A line that was UTF-16 read as UTF-8, without its NULs."""
    return line.replace("\0", "")


def error_code(stdout: str) -> str | None:
    """The path after `Error code:`, such as `Wsl/Service/WSL_E_DISTRO_NOT_FOUND`; None if there is none."""
    found = _CODE.findall(stdout)
    return found[-1] if found else None


def failure(completed: Completed, distro: str | None) -> Problem | None:
    """What a finished wsl.exe says about itself; None if it worked (the Linux command's own exit code is not judged
    here).
    """
    lines = tuple(line for line in completed.stdout.splitlines() if line.strip())[-10:]
    if completed.timed_out:
        return problem("wsl.hangs", *lines, asked=completed.asked, seconds=round(completed.limit_s))
    if completed.code == STUB_NOT_INSTALLED:
        return problem("wsl.not_installed", *lines)
    code = error_code(completed.stdout)
    if code is None or completed.code not in WSL_FAILED:
        return None
    name = code.rsplit("/", 1)[-1]
    if name == "WSL_E_DISTRO_NOT_FOUND":
        return problem("wsl.distro_not_found", *lines, distro=distro or "")
    if name == "WSL_E_DEFAULT_DISTRO_NOT_FOUND":
        return problem("wsl.no_distro", *lines)
    if name in (
        "WSL_E_WSL_OPTIONAL_COMPONENT_REQUIRED",
        "HCS_E_HYPERV_NOT_INSTALLED",
        "WSL_E_VIRTUAL_MACHINE_PLATFORM_REQUIRED",
    ):
        return problem("wsl.component_missing", *lines, error=code)
    return problem("wsl.failed", *lines, error=code)

"""What wsl.exe prints: text by id and language, and its encodings (reference wsl-exe §1, §9). Decides no exit code."""

from __future__ import annotations

import os
from collections.abc import Sequence

from kotaro_bridge.simulator.wsl_command_line import WslFailure

STDOUT, STDERR = 1, 2


def text(language: str, name: str, *values: str) -> str:
    """The text `name` with `values` filled into its `{}` in call order, whatever the language, as the real one does."""
    import tomllib  # here and not above: a launch that prints nothing of its own starts faster

    from kotaro_bridge.resources import resource

    pattern = tomllib.loads(resource("simulator/data/wsl_texts.toml").read_text(encoding="utf-8"))[name][language]
    pieces = pattern.split("{}")
    filled = [piece + value for piece, value in zip(pieces, values, strict=False)]
    return "".join(filled) + "".join(pieces[len(values) :])


def failure_text(language: str, failure: WslFailure) -> str:
    """The whole text of a failure, with the `Error code:` line where it has one."""
    message = text(language, failure.text, *failure.values)
    return message if failure.code is None else text(language, "MessageErrorCode", message, failure.code)


def warning_texts(language: str, warnings: Sequence[Sequence[str]]) -> str:
    """Warnings (message id and values) as wsl.exe prints them on stderr."""
    return "".join(f"wsl: {text(language, name, *values)}\n" for name, *values in warnings)


def write(stream: int, message: str, *, utf16_always: bool = False) -> None:
    """Write text of wsl.exe itself: UTF-16LE without BOM and CRLF, or UTF-8 when `WSL_UTF8` is exactly 1.

    Args:
        stream: file descriptor.
        message: text with LF; one is added where the last line has none.
        utf16_always: the in-box stub is older than the variable.
    """
    lines = message if message.endswith("\n") else message + "\n"
    utf8 = os.environ.get("WSL_UTF8") == "1" and not utf16_always
    data = lines.replace("\n", "\r\n").encode("utf-8" if utf8 else "utf-16-le")
    while data:
        data = data[os.write(stream, data) :]

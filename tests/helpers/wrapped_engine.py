"""An engine executable that changes what the product asked for behind its back, around the real llama-server."""

from __future__ import annotations

from pathlib import Path

_WITHOUT = """\
count=$#
while [ "$count" -gt 0 ]; do
    arg=$1
    shift
    count=$((count - 1))
    case $arg in {names}) shift; count=$((count - 1)) ;; *) set -- "$@" "$arg" ;; esac
done
"""


def without(*names: str) -> str:
    """Shell lines that take arguments with their values out of our command line before the server sees it."""
    return _WITHOUT.format(names=" | ".join(names))


def wrapper(folder: Path, server: Path, script: str) -> Path:
    """An engine executable of our own; `$server` in its script is the real one."""
    path = folder / "wrapped-llama-server"
    path.write_text(f'#!/bin/sh\nserver="{server}"\n{script}\n', encoding="utf-8")
    path.chmod(0o755)
    return path

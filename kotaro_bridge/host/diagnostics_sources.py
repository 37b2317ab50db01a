"""What this PC says of itself and what the product has kept, as text for diagnostics.

Owns reading; each function may raise what its source raises, and may take its time. Starts nothing. Takes nothing out
of what it reads: that is done with all texts together (`service/diagnostics.py`).
"""

from __future__ import annotations

import codecs
import importlib.metadata
import locale
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from pathlib import Path

import psutil

from kotaro_bridge.host.launcher_wsl import WslLauncher
from kotaro_bridge.host.wsl_text import decode

_TAIL_BYTES = 512 << 10
_WSL_S = 10.0
WSL_PART_S = 3 * _WSL_S + 5.0
_ROWS = 300
_VARIABLES = (
    *("CUDA", "GGML", "HF_", "HUGGINGFACE", "KOTARO", "LANG", "LC_", "LLAMA", "NVIDIA", "OLLAMA", "PYTHON", "QT_"),
    *("SESSIONNAME", "TORCH", "VLLM", "WSL", "XDG_", "http", "HTTP", "no_proxy", "NO_PROXY"),
)


def packages() -> str:
    """Packages of this Python, or of the frozen program as far as it carries their names."""
    found = {f"{each.metadata['Name']} {each.version}" for each in importlib.metadata.distributions()}
    return "\n".join(sorted(found, key=str.lower))


def system(folders: Iterable[Path]) -> str:
    """Memory, processors, disks of the folders, time, language, and variables that change how engines behave. What one
    question fails at (swap, where Windows' counters are switched off) is said in its place.
    """
    questions: list[Callable[[], str]] = [
        _time_now,
        _memory,
        _swap,
        _processors,
        _languages,
        *(partial(_disk, folder) for folder in folders),
    ]
    variables = sorted((name, value) for name, value in os.environ.items() if name.startswith(_VARIABLES))
    return "\n".join([*map(_answer, questions), *(f"{name}={value}" for name, value in variables)])


def _answer(question: Callable[[], str]) -> str:
    try:
        return question()
    except Exception as error:  # psutil raises RuntimeError, too
        return f"{type(error).__name__}: {error}"


def _time_now() -> str:
    return f"now {time.strftime('%Y-%m-%d %H:%M:%S %z')}, up since {_time(psutil.boot_time())}"


def _memory() -> str:
    memory = psutil.virtual_memory()
    return f"memory {_mib(memory.total)}, available {_mib(memory.available)}"


def _swap() -> str:
    swap = psutil.swap_memory()
    return f"swap {_mib(swap.total)}, used {_mib(swap.used)}"


def _processors() -> str:
    return f"processors {psutil.cpu_count()} ({psutil.cpu_count(logical=False)} cores)"


def _languages() -> str:
    preferred = locale.getpreferredencoding(do_setlocale=False)
    return f"encodings {sys.getfilesystemencoding()}, {preferred}; locale {locale.getlocale()}"


def _disk(folder: Path) -> str:
    disk = psutil.disk_usage(str(_there(folder)))
    return f"disk of {folder}: {_mib(disk.free)} free of {_mib(disk.total)}"


def wsl(launcher: WslLauncher) -> str:
    """What wsl.exe says of itself and of the distros. None of these questions starts one (reference wsl-exe)."""
    said = []
    for options in (("--version",), ("--status",), ("--list", "--verbose")):
        code, out, err, late = launcher.ask_wsl(options, _WSL_S)
        end = f"no answer within {_WSL_S:.0f} s" if late else f"exit code {code}"
        said.append(f"$ wsl {' '.join(options)}\n{decode(out)}{decode(err)}{end}\n")
    return "\n".join(said)


def file_text(path: Path, most_bytes: int = _TAIL_BYTES) -> str:
    """The text of a file, its end if it is long; "" if there is none. Raises OSError."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            begin = max(0, size - most_bytes)
            file.seek(begin - begin % 2)
            data = file.read()
            file.seek(0)
            head = file.read(2)
    except FileNotFoundError:
        return ""
    if head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        little = head == codecs.BOM_UTF16_LE
        text = data.decode("utf-16-le" if little else "utf-16-be", "replace").removeprefix("\ufeff")
    else:
        text = data.decode("utf-8-sig", "replace")
    if begin:
        # The first line is half of one, and nobody could say of half a secret what it was.
        return f"[the last {most_bytes} of {size} bytes]\n{text.partition(chr(10))[2]}"
    return text


def newest(folder: Path, pattern: str, count: int) -> list[Path]:
    """The newest files of a folder, the newest first; nothing where there is no such folder. Raises OSError."""
    found = [path for path in folder.glob(pattern) if path.is_file()]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)[:count]


def table_rows(file: Path) -> str:
    """The newest rows of all tables of an SQLite file, as lines; "" if there is none. Raises sqlite3.Error."""
    if not file.exists():
        return ""
    lines = []
    address = f"{file.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, timeout=1.0, uri=True)) as store:
        for (table,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            question = f'SELECT * FROM "{table}" ORDER BY rowid DESC LIMIT {_ROWS}'  # noqa: S608
            rows = store.execute(question)
            lines += [f"# {table}", "\t".join(column[0] for column in rows.description)]
            lines += ["\t".join(map(str, row)) for row in rows]
    return "\n".join(lines)


def _there(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next((path for path in (folder, *folder.parents) if path.exists()), folder)


def _mib(count: int) -> str:
    return f"{count / (1 << 20):.0f} MiB"


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))

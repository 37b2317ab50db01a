"""TOML files that a person may edit too: read whole, changed with comments and order kept, replaced whole or not.

Owns how such a file is changed on the disk. Must not judge its content.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from kotaro_bridge.host.disk import patiently, put_whole

MAX_BYTES = 1 << 20
MARK = "\ufeff"  # Notepad writes it in front

TomlValue: TypeAlias = str | int | float | bool | Sequence[object]


def read_whole(file: Path) -> str:
    """The whole file as it is.

    Raises:
        OSError: it cannot be read, or is larger than any such file.
        UnicodeDecodeError: it is not UTF-8.
    """
    if patiently(file.stat).st_size > MAX_BYTES:
        raise OSError(f"> {MAX_BYTES} bytes")
    return patiently(file.read_bytes).decode()


def plain(text: str) -> str:
    """The text without Notepad's mark, and with bare line feeds."""
    return text.removeprefix(MARK).replace("\r\n", "\n")


def changed_toml(text: str, changes: Mapping[str, TomlValue | None]) -> str:
    """TOML text with these keys set, or taken out for None. Text that is no TOML stays: decoding says why."""
    import tomlkit
    import tomlkit.exceptions

    mark = MARK if text.startswith(MARK) else ""
    try:
        document = tomlkit.parse(text.removeprefix(MARK))
    except tomlkit.exceptions.ParseError:
        return text
    # Keys first: one that is written behind a table would belong to it.
    for key, value in sorted(changes.items(), key=lambda each: "." in each[0]):
        table, _, name = key.rpartition(".")
        if table and value is not None and table not in document:
            document[table] = tomlkit.table()
        place = document.get(table, {}) if table else document
        if value is not None:
            place[name] = list(value) if isinstance(value, tuple) else value
        elif name in place:
            place.remove(name)
    made = tomlkit.dumps(document)
    if "\r\n" in text and not re.search(r"(?<!\r)\n", text):
        made = re.sub(r"(?<!\r)\n", "\r\n", made)  # a new key comes with a bare line feed
    return mark + made


def replace_file(target: Path, data: bytes) -> None:
    """Put `data` in the place of a file, whole or not at all. A link stays one: what it leads to is replaced.

    Raises:
        OSError: nothing is changed then.
    """
    target = Path(os.path.realpath(target))
    there = target.exists()
    # Replacing a file needs no right to write it: its own mark is what the person meant.
    if there and not target.stat().st_mode & stat.S_IWUSR:
        raise PermissionError(f"read-only: {target}")

    def put(made: Path) -> None:
        if there:
            shutil.copymode(target, made)
        patiently(lambda: os.replace(made, target))

    put_whole(target, lambda file: file.write(data), put)

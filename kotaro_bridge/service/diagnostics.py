"""Diagnostics: everything that helps to find a fault, in one file that a person can look at and hand on.

Owns that each part has its time and its own error, that nothing leaves without being redacted, and what the file says
of itself. What the parts are is the composition root's business. Must not start anything.
"""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from kotaro_bridge.domain.errors import Problem, ProblemError
from kotaro_bridge.domain.redaction import Identity, Kind, Redactor, names_in

PART_S = 25.0
_MOST = 1 << 20  # letters of a part; the newest stay
_MOST_OF_ALL = 8 << 20
README = "README.txt"
_ODD = re.compile(r"[^A-Za-z0-9._/-]")


class Failed(StrEnum):
    """Why a part is not there."""

    LATE = "late"
    ERROR = "error"
    TOO_MUCH = "too_much"


@dataclass(frozen=True, slots=True)
class Part:
    """One file of the diagnostics.

    Args:
        name: in the ZIP file, with folders.
        collect: reads it; may raise anything and may block for ever. An empty text is left out.
        limit_s: seconds after which it is not waited for any longer.
        versions: nothing but versions, of which some look like addresses.
    """

    name: str
    collect: Callable[[], str]
    limit_s: float = PART_S
    versions: bool = False


@dataclass(frozen=True, slots=True)
class Collected:
    """What became of a part.

    Args:
        text: redacted; why it failed, for one that did.
    """

    name: str
    text: str
    seconds: float
    failed: Failed | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the file holds, and what was taken out of it."""

    parts: tuple[Collected, ...]
    removed: tuple[tuple[Kind, int], ...]


class Archive(Protocol):
    """Writes the ZIP file."""

    def write(self, path: Path, files: Sequence[tuple[str, str]], *, replace: bool) -> int:
        """All files, or nothing; bytes of the ZIP file.

        Raises:
            ProblemError: `diagnostics.exists`, `diagnostics.not_written`.
        """


@dataclass(frozen=True, slots=True)
class Written:
    """The file is there."""

    path: Path
    bytes: int
    manifest: Manifest


class Diagnostics:
    """Collects and writes.

    Args:
        parts: what there is to collect now; may raise ProblemError.
        identity: who must not be recognised.
        readme: the words of a manifest.
    """

    def __init__(
        self,
        parts: Callable[[], Sequence[Part]],
        identity: Callable[[], Identity],
        archive: Archive,
        readme: Callable[[Manifest], str],
    ) -> None:
        self._parts = parts
        self._identity = identity
        self._archive = archive
        self._readme = readme

    def contents(self) -> tuple[str, ...]:
        """Names of what the file will hold, for a person who wants to know before."""
        return (README, *(part.name for part in self._parts()))

    def write(self, path: Path) -> Path:
        """Write the file, over one that is there: a dialog has asked. Where it is. Blocks. Raises ProblemError."""
        return self.written(path, replace=True).path

    def written(self, path: Path, *, replace: bool) -> Written:
        """Collect everything and write it. Blocks for as long as the slowest part may take.

        Raises:
            ProblemError: `diagnostics.*`; nothing is written then.
        """
        manifest = self.collect()
        files = [(part.name, part.text) for part in manifest.parts]
        size = self._archive.write(path, [(README, self._readme(manifest)), *files], replace=replace)
        return Written(path, size, manifest)

    def collect(self) -> Manifest:
        """All parts, redacted. Names that one part tells are taken out of all of them."""
        raw = _all_of(self._parts())
        names = frozenset(name for part, found in raw for name in names_in(found.text))
        redactor = Redactor(self._identity().and_users(sorted(names)))
        parts: dict[str, Collected] = {}
        total = 0
        for part, found in raw:
            text = redactor.text(found.text, addresses=not part.versions)[-_MOST:]
            name = _free_name(redactor.text(part.name), parts)
            total += len(text)
            if total > _MOST_OF_ALL:
                parts[name] = Collected(name, "", found.seconds, Failed.TOO_MUCH)
            elif text or found.failed:
                parts[name] = Collected(name, text, found.seconds, found.failed)
        return Manifest(tuple(parts.values()), tuple(sorted(redactor.counts.items())))


def _free_name(name: str, taken: Collection[str]) -> str:
    """A name that every system can unpack, and that no other part has: two may differ in what was taken out alone."""
    plain = _ODD.sub("_", name)
    stem, dot, end = plain.rpartition(".")
    return next(
        each
        for number in itertools.count(1)
        if (each := plain if number == 1 else f"{stem}-{number}{dot}{end}") not in taken
    )


def _all_of(parts: Sequence[Part]) -> list[tuple[Part, Collected]]:
    """All parts side by side: together they take as long as the slowest, or as long as that may take."""
    waits = [_Wait(part) for part in parts]
    return [(wait.part, wait.found()) for wait in waits]


class _Wait:
    """A part that is being collected on a thread of its own, which ends with the process if nothing else ends it."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self._begun = time.monotonic()
        self._found: Collected | None = None
        self._thread = threading.Thread(target=self._collect, name=f"diagnostics-{part.name}", daemon=True)
        self._thread.start()

    def found(self) -> Collected:
        self._thread.join(max(0.0, self._begun + self.part.limit_s - time.monotonic()))
        took = time.monotonic() - self._begun
        return self._found or Collected(self.part.name, f"{self.part.limit_s:.0f} s", took, Failed.LATE)

    def _collect(self) -> None:
        try:
            text, failed = self.part.collect(), None
        except ProblemError as error:
            text, failed = _told(error.problem), Failed.ERROR
        except BaseException as error:  # whatever it is, the other parts are there
            text, failed = f"{type(error).__name__}: {error}", Failed.ERROR
        self._found = Collected(self.part.name, text, time.monotonic() - self._begun, failed)


def _told(what: Problem) -> str:
    return "\n".join((str(what), *what.evidence))

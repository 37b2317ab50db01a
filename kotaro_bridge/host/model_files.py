"""Model files of a target, through its launcher. Implements `domain.ports_models.ModelTarget`.

Owns the words of `models.sh` and how `fetch.py` is started. Must not judge what it finds: `domain.model_files` does.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from kotaro_bridge.domain.engine.engine_log import LogLine
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.model.hub import FetchJob, FetchMessage, read_message
from kotaro_bridge.domain.model.model_files import FileEntry, FolderListing, Place
from kotaro_bridge.domain.ports import EngineCommand, EngineProcess, ProcessEvent
from kotaro_bridge.host.guardian import target_script
from kotaro_bridge.host.launcher import TargetLauncher
from kotaro_bridge.host.wsl_text import decode

_LIST_S, _REMOVE_S = 60.0, 120.0
_END_S = 10.0


def models_argv(*words: str) -> list[str]:
    """Command of the Linux side that runs `models.sh` (see the script's head)."""
    return ["/bin/sh", "-c", target_script("models.sh"), "kotaro-models", *words]


def fetch_argv(clients: Sequence[str]) -> list[str]:
    """Command of the Linux side that runs `fetch.py` with the client it finds."""
    return ["/bin/sh", "-c", target_script("fetch.sh"), "kotaro-fetch", target_script("fetch.py"), *clients]


def parse_listings(stdout: str) -> tuple[str, tuple[FolderListing, ...]]:
    """(home folder, folders). Lines that are none, such as those of a file name with a line end in it, are left out."""
    home, found = "", []
    for line in stdout.splitlines():
        word, *values = line.split("\t")
        if word == "home" and values:
            home = values[0]
        elif word == "root" and len(values) == 2:
            found.append(_Reading(Place(values[0]), values[1]))
        elif found:
            found[-1].take(word, values)
    return home, tuple(reading.listing() for reading in found)


class _Reading:
    """The lines of one folder."""

    def __init__(self, place: Place, root: str) -> None:
        self._place, self._root = place, root
        self._entries: dict[str, FileEntry] = {}
        self._refs: dict[str, str] = {}

    def take(self, word: str, values: list[str]) -> None:
        path = values[-1] if values else ""
        if word == "file" and len(values) == 4 and values[1].isdecimal() and values[2].isdecimal():
            self._entries[path] = FileEntry(path, int(values[2]), values[0], links=int(values[1]))
        elif word == "link" and len(values) == 2:
            self._entries[path] = FileEntry(path, None, f"link:{self._root}/{path}", values[0])
        elif word == "leads" and len(values) == 3 and values[1].isdecimal() and path in self._entries:
            self._entries[path] = replace(self._entries[path], size=int(values[1]), identity=values[0])
        elif word == "ref" and len(values) == 2:
            self._refs[path] = values[0]
        elif word == "magic" and len(values) == 2 and path in self._entries:
            with contextlib.suppress(ValueError):
                self._entries[path] = replace(self._entries[path], magic=bytes.fromhex(values[0]))

    def listing(self) -> FolderListing:
        return FolderListing(self._place, self._root, tuple(self._entries.values()), self._refs)


class TargetModels:
    """Model files of one target.

    Args:
        answer_s: how long the client may take for a short question; uv may have to fetch it first.
    """

    def __init__(self, launcher: TargetLauncher, answer_s: float = 120.0) -> None:
        self._launcher = launcher
        self._answer_s = answer_s

    def listings(self, folders: Sequence[str]) -> tuple[str, tuple[FolderListing, ...]]:
        """See `ModelTarget.listings`."""
        return parse_listings(self._launcher.run(models_argv("list", *folders), timeout_s=_LIST_S).stdout)

    def remove(self, root: str, paths: Sequence[str]) -> None:
        """See `ModelTarget.remove`."""
        said = "".join(f"{path}\n" for path in paths).encode()
        done = self._launcher.run(models_argv("remove", root), timeout_s=_REMOVE_S, stdin=said)
        if done.code != 0:
            raise ProblemError(problem("models.not_removed", *done.stderr.splitlines()[-5:], path=root))

    def ask(self, question: FetchJob) -> FetchMessage:
        """See `ModelTarget.ask`."""
        argv = fetch_argv(question.clients)
        done = self._launcher.run(argv, timeout_s=self._answer_s, stdin=f"{question.line}\n".encode())
        messages = [found for line in done.stdout.splitlines() if (found := read_message(line)) is not None]
        answer = next((found for found in messages if found.error or found.listing or found.measured), None)
        if answer is None:
            raise ProblemError(problem("download.failed", *done.stderr.splitlines()[-5:], id=question.repo))
        return answer

    def fetch(
        self,
        run_id: str,
        job: FetchJob,
        on_line: Callable[[LogLine], None],
        on_event: Callable[[ProcessEvent], None],
    ) -> EngineProcess:
        """See `ModelTarget.fetch`."""
        command = EngineCommand(tuple(fetch_argv(job.clients)), {}, (), ())
        return self._launcher.launch_told(run_id, command, job.line, on_line, on_event)

    def receive(self, path: str, size: int, sha256: str, chunks: Iterable[bytes]) -> bool:
        """See `ModelTarget.receive`."""
        with self._launcher.piped(models_argv("receive", path, str(size), sha256)) as process:
            said = _said(process)
            if said == "send":
                _send(process, chunks)
                said = _said(process)
            if said in ("done", "kept"):
                return said == "done"
            err = process.stderr.read() if process.stderr and process.wait(_END_S) is not None else b""
        raise ProblemError(_copy_problem(path, size, said, decode(err)))


def _said(process: subprocess.Popen[bytes]) -> str:
    """The next line; empty at the end."""
    return decode(process.stdout.readline()).strip() if process.stdout else ""


def _send(process: subprocess.Popen[bytes], chunks: Iterable[bytes]) -> None:
    """All of it, and the end. A target that reads no further says why itself."""
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError, OSError), process.stdin as pipe:
            for chunk in chunks:
                pipe.write(chunk)


def _copy_problem(path: str, size: int, said: str, err: str) -> Problem:
    word, _, value = said.partition(" ")
    free = int(value) if value.isdecimal() else 0
    known = {
        "exists": problem("models.copy_exists", path=path),
        "full": problem("models.copy_no_room", path=path, need_bytes=size, free_bytes=free),
        "short": problem("models.copy_cut", path=path),
        "differs": problem("models.copy_differs", path=path),
    }
    return known.get(word) or problem("models.copy_failed", *err.splitlines()[-5:], path=path)

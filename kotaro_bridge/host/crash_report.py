"""What is left of a process of ours that ended by an error of its own: a report that a person can read and hand on.

Owns the hooks for uncaught errors (Python's, those of threads, of native code, and Qt's fatal messages), the folder of
the reports, and what the next start has to tell of the last end. Must not decide what becomes of a process that goes
on after an error: whoever installs this says so (`on_crash`). Loads nothing that a start would wait for.

While a process lives it holds a file `alive-*.txt` open, into which native code's last words go (`faulthandler`); it
is removed at an orderly end. One that nobody holds any more tells of a process that had none.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from kotaro_bridge.host.file_lock import lock_now

_KEPT = 10
_MOST = 5  # reports of one process: an error that comes again says nothing new
_QT_LINES = 50
_HEAD_END = "--\n"
_NATIVE = re.compile(
    r"Fatal Python error: |Windows fatal exception: (?:access violation|stack overflow|int divide|in page|code 0xc)"
)
"""`faulthandler` also writes down errors of COM that Windows' own code catches again, such as 0x8001010d."""

Raised = tuple[type[BaseException], BaseException | None, TracebackType | None]


class End(Enum):
    """How an earlier process ended."""

    CRASHED = "crashed"
    KILLED = "killed"


@dataclass(frozen=True, slots=True)
class Ended:
    """An end that nobody has been told of.

    Args:
        at: seconds since the epoch; for KILLED when its runs last changed.
        report: None for KILLED: there is nothing in it that its runs do not say.
        runs: what ran at the end, as `Crashes.note_runs` was told.
    """

    how: End
    at: float
    report: Path | None
    runs: tuple[str, ...]


class Crashes:
    """The crash handler of this process.

    Args:
        folder: of the reports; made when it is needed.
        about: versions and system, for the head of a report.
        clean: takes out of a text what must not be kept.
        log_tail: the newest lines of this process's log; log_end: the end of the log on disk, of all processes.
    """

    def __init__(
        self,
        folder: Path,
        about: Callable[[], str],
        clean: Callable[[str], str],
        log_tail: Callable[[], Sequence[str]] = tuple,
        log_end: Callable[[], str] = str,
    ) -> None:
        self.folder = folder
        self.on_crash: Callable[[Path | None, BaseException | None], None] | None = None
        self._about = about
        self._clean = clean
        self._log_tail = log_tail
        self._log_end = log_end
        self._lock = threading.RLock()
        self._reports = 0
        self._runs: tuple[str, ...] = ()
        self._qt: deque[str] = deque(maxlen=_QT_LINES)
        self._alive: BinaryIO | None = None
        self._alive_path = folder
        self._head = 0

    def install(self) -> None:
        """Hear of every error that nobody caught."""
        sys.excepthook = self._uncaught
        threading.excepthook = self._in_thread
        sys.unraisablehook = self._unraisable
        with contextlib.suppress(OSError):
            self._begin_alive()

    def close(self) -> None:
        """The process ends in order: the next start has nothing to tell."""
        alive, self._alive = self._alive, None
        if alive is not None:
            if not _asked_for():
                faulthandler.disable()
            alive.close()
            with contextlib.suppress(OSError):
                self._alive_path.unlink()

    def note_runs(self, runs: Iterable[str]) -> None:
        """What runs now: in a report it says what was under way, and after a kill that something was."""
        with self._lock, contextlib.suppress(OSError):
            self._runs = tuple(runs)
            if self._alive is not None:
                self._alive.seek(self._head)
                self._alive.truncate()
                self._alive.write("".join(f"run {run}\n" for run in self._runs).encode())

    def qt_message(self, text: str, *, fatal: bool = False) -> None:
        """A message of Qt; after a fatal one Qt ends the process, on Windows in a way that nothing hears of."""
        self._qt.append(text)
        if fatal:
            self.report("Qt", f"fatal: {text}")

    def caught(self, error: BaseException) -> Path | None:
        """Report an error that ended the program and was caught at its very top; None if that cannot be written."""
        return self.report("main", _trace((type(error), error, error.__traceback__)))

    def report(self, where: str, what: str, *, told: bool = False) -> Path | None:
        """Write a report; None if it cannot be written, or this process has written enough of them.

        Args:
            told: the next start has nothing to tell of it.
        """
        with self._lock:
            if self._reports >= _MOST:
                return None
            self._reports += 1
            sections = [
                ("What happened", what),
                ("Where", f"{where}, after {time.process_time():.1f} s of computing time"),
                ("Runs", "\n".join(self._runs) or "none"),
                ("Threads", _stacks()),
                ("Messages of Qt", "\n".join(self._qt)),
                ("Log", "\n".join(self._log_tail())),
            ]
            return self._write(sections, time.time(), told=told)

    def earlier(self) -> tuple[Ended, ...]:
        """Ends of earlier processes that nobody has been told of yet, oldest first; they are told with this."""
        found = []
        for path in self._listed("alive-*.txt"):
            with contextlib.suppress(OSError):
                found += self._of_dead(path)
        for path in self._listed("crash-*.untold"):
            with contextlib.suppress(OSError):
                path.unlink()
                report = path.with_suffix(".txt")
                found.append(Ended(End.CRASHED, report.stat().st_mtime, report, ()))
        return tuple(sorted(found, key=lambda end: end.at))

    def told(self, report: Path) -> None:
        """A person has been told of a report."""
        with contextlib.suppress(OSError):
            report.with_suffix(".untold").unlink()

    # --- the hooks ------------------------------------------------------------------------------------------------

    def _uncaught(self, kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error or kind(), trace)
            return
        self._crashed("a call of the windows", (kind, error, trace))

    def _in_thread(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_type is not SystemExit:
            name = args.thread.name if args.thread is not None else "?"
            self._crashed(f"thread {name}", (args.exc_type, args.exc_value, args.exc_traceback))

    def _crashed(self, where: str, raised: Raised) -> None:
        try:
            path = self.report(where, _trace(raised))
        except Exception:  # a report that fails must not keep the models running
            path = None
        if self.on_crash is not None:
            self.on_crash(path, raised[1])
        elif sys.stderr is not None:
            sys.__excepthook__(raised[0], raised[1] or raised[0](), raised[2])

    def _unraisable(self, args: sys.UnraisableHookArgs) -> None:
        """Nobody could catch it, and nothing ends for it."""
        if not sys.is_finalizing():
            raised = (args.exc_type, args.exc_value, args.exc_traceback)
            self.report(f"{args.err_msg or 'ignored in'} {args.object!r}", _trace(raised), told=True)
        sys.__unraisablehook__(args)

    # --- files ----------------------------------------------------------------------------------------------------

    def _begin_alive(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = f"{os.getpid()}-{time.time_ns():x}.txt"
        path = self.folder / f"alive-{name}"
        if sys.platform == "win32":  # which keeps a file that is open from being renamed
            self._alive = path.open("x+b", buffering=0)
        else:  # locked before anybody can take it for that of a dead process
            self._alive = (self.folder / f"begin-{name}").open("x+b", buffering=0)
            lock_now(self._alive)
            os.rename(self._alive.name, path)
        self._alive_path = path
        self._head = self._alive.write(f"{' '.join(sys.version.split())}\n{_HEAD_END}".encode())
        if not _asked_for():
            faulthandler.enable(self._alive)

    def _of_dead(self, path: Path) -> list[Ended]:
        """What an `alive` file tells, which is gone afterwards; nothing for a process that lives."""
        with path.open("rb") as file:
            if sys.platform != "win32":
                lock_now(file)
            at = os.fstat(file.fileno()).st_mtime
            if sys.platform != "win32":
                path = path.rename(path.with_suffix(".dead"))
            text = file.read(1 << 16).decode("utf-8", "replace")
        if sys.platform == "win32":
            path = path.rename(path.with_suffix(".dead"))
        path.unlink()
        _, _, said = text.partition(_HEAD_END)
        lines = said.splitlines()
        runs = tuple(line.removeprefix("run ") for line in lines if line.startswith("run "))
        if _NATIVE.search(said) is None:
            return [Ended(End.KILLED, at, None, runs)] if runs else []
        sections = [("What happened", said), ("Log until now", self._log_end())]
        report = self._write(sections, at, told=True)
        return [Ended(End.CRASHED, at, report, runs)]

    def _write(self, sections: Sequence[tuple[str, str]], at: float, *, told: bool) -> Path | None:
        stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(at))
        path = self.folder / f"crash-{stamp}-{os.getpid()}-{self._reports}.txt"
        when = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(at))
        try:
            head = (
                f"Kotaro Bridge ended, or lost a part of itself, by an error of its own.\n\n{when}\n{self._about()}\n"
            )
            body = "\n".join(f"=== {title}\n{text.rstrip()}\n" for title, text in sections if text)
            clean = self._clean(f"{head}\n{body}")
        except Exception as error:  # what cannot be cleaned is not kept
            clean = f"{when}\n{sections[0][0]}: {type(error).__name__} while this report was made\n"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.write_text(clean, encoding="utf-8", errors="replace")
            if not told:
                path.with_suffix(".untold").touch()
        except OSError:
            return None
        self._prune()
        return path

    def _prune(self) -> None:
        for path in self._listed("crash-*.txt")[:-_KEPT]:
            for each in (path, path.with_suffix(".untold")):
                with contextlib.suppress(OSError):
                    each.unlink()

    def _listed(self, pattern: str) -> list[Path]:
        try:
            return sorted(self.folder.glob(pattern))
        except OSError:
            return []


def _asked_for() -> bool:
    """True where a developer has `faulthandler` write to the terminal (`-X faulthandler`, PYTHONFAULTHANDLER)."""
    return bool(os.environ.get("PYTHONFAULTHANDLER")) or "faulthandler" in sys._xoptions


def _trace(raised: Raised) -> str:
    return "".join(traceback.format_exception(*raised))


def _stacks() -> str:
    """Where each thread is. Its own frames, no values: those could be anybody's words."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for number, frame in sys._current_frames().items():
        parts.append(f"{names.get(number, number)}:\n{''.join(traceback.format_stack(frame))}")
    return "\n".join(parts)

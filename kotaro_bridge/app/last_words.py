"""The crash handler and the log of this process, put together before anything else of it is loaded.

Owns what becomes of an error that nobody caught, up to the exit code, and what an owner of runs tells of earlier ends.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kotaro_bridge.host.crash_report import Crashes, End
from kotaro_bridge.host.paths import Paths

if TYPE_CHECKING:
    from kotaro_bridge.domain.errors import Problem
    from kotaro_bridge.domain.redaction import Redactor
    from kotaro_bridge.host.app_log import AppLog
    from kotaro_bridge.service.bus import Bus
    from kotaro_bridge.service.supervisor import Supervisor

_FAILED = 1
_ERROR_BOX = 0x10  # MB_ICONERROR
_LOG_END_BYTES = 20_000


class LastWords:
    """Of this process.

    Args:
        crashes: None where no folder for reports can be had: the program itself says what is wrong with it.
    """

    def __init__(self, crashes: Crashes | None) -> None:
        self.crashes = crashes

    def guard(self, work: Callable[[], int]) -> int:
        """Run the program; its exit code, also of an error that it did not catch."""
        try:
            return work()
        except Exception as error:
            report = self.crashes.caught(error) if self.crashes is not None else None
            try:
                _tell(error, report)
            except Exception:  # what would tell it may be what is broken
                if sys.stderr is not None:
                    sys.__excepthook__(type(error), error, error.__traceback__)
            else:
                self.told(report)
            return _FAILED
        finally:
            if self.crashes is not None:
                self.crashes.close()

    def told(self, report: Path | None) -> None:
        """A person has been told of a report."""
        if self.crashes is not None and report is not None:
            self.crashes.told(report)

    def earlier(self, *, killed: bool = True) -> tuple[Problem, ...]:
        """What nobody has been told of earlier ends; with this it is told.

        Args:
            killed: False where what they left behind has been told already.
        """
        from kotaro_bridge.domain.errors import problem

        found: list[Problem] = []
        for end in self.crashes.earlier() if self.crashes is not None else ():
            at = time.strftime("%Y-%m-%d %H:%M", time.localtime(end.at))
            if end.report is not None:
                found.append(problem("app.crashed_before", at=at, path=str(end.report)))
            elif end.how is End.CRASHED:
                found.append(problem("app.crashed_before", at=at, path=str(crash_folder())))
            elif killed:
                found.append(problem("app.killed_before", runs=", ".join(end.runs)))
        return tuple(found)

    def follow(self, bus: Bus, supervisor: Supervisor, simulated: str | None) -> Callable[[], None]:
        """Note what runs, as it changes; returns the function that stops that."""
        from kotaro_bridge.domain.run.run_state import RESTING
        from kotaro_bridge.domain.run.run_view import PhaseChanged

        def note(message: object) -> None:
            if isinstance(message, PhaseChanged) and self.crashes is not None:
                views = [actor.view for actor in supervisor.actors()]
                where = f" ({simulated})" if simulated else ""
                busy = (view for view in views if view.phase not in RESTING)
                self.crashes.note_runs(f"{view.profile_id}{where}: {view.phase.value}" for view in busy)

        return bus.subscribe(note)


_of_process = LastWords(None)
_log: list[AppLog] = []
_redactors: list[Redactor] = []
_one_at_a_time = threading.RLock()  # what the garbage collector throws here is reported, and cleaned, here


def begin() -> LastWords:
    """Hear of errors from here on."""
    try:
        _of_process.crashes = Crashes(crash_folder(), _about, clean, lambda: _log[0].tail() if _log else (), _log_end)
        _of_process.crashes.install()
    except Exception:  # nothing must keep the program from starting, and from saying what is wrong
        _of_process.crashes = None
    return _of_process


def of_process() -> LastWords:
    """Those of this process; before `begin`, as in tests, they hear nothing."""
    return _of_process


def begin_log() -> None:
    """Write the log from here on. Not sooner than it is wanted: it loads more than a tray icon."""
    from kotaro_bridge.host.app_log import AppLog, install

    try:
        _log.append(AppLog(log_folder(), clean))
        install(_log[0])
    except Exception:  # as above
        _log.clear()


def cease() -> None:
    """Write nothing more and hold no file open: the folders are about to go."""
    if _of_process.crashes is not None:
        _of_process.crashes.close()
    if _log:
        import logging

        logging.getLogger().removeHandler(_log.pop())


def log_beginning() -> None:
    """One line that says what this process is; the rest of the log is to be read with it."""
    import logging

    logging.getLogger(__name__).info("%s\n%s", " ".join(sys.argv[1:]) or "tray", _about())


def crash_folder() -> Path:
    """Where the reports are, of the real PC and of simulated ones alike. Raises ProblemError."""
    return Paths.of_user().logs / "crashes"


def log_folder() -> Path:
    """Where the product's own log is. Raises ProblemError."""
    return Paths.of_user().logs / "app"


def clean(text: str) -> str:
    """Without secrets and names; several threads may ask."""
    from kotaro_bridge.host.identity import redactor

    with _one_at_a_time:
        if not _redactors:
            _redactors.append(redactor())
        return _redactors[0].text(text)


def _log_end() -> str:
    from kotaro_bridge.host.app_log import NAME
    from kotaro_bridge.host.diagnostics_sources import file_text

    return file_text(log_folder() / NAME, _LOG_END_BYTES)


def _about() -> str:
    from kotaro_bridge.about import about

    return about()


def _tell(error: Exception, report: Path | None) -> None:
    """Tell the person at this PC, on the terminal or, where there is none, in a box of Windows."""
    from kotaro_bridge.app.session import explain, session
    from kotaro_bridge.domain.errors import problem

    words = problem("app.crashed", error=f"{type(error).__name__}: {error}", path=str(report or crash_folder()))
    if sys.stderr is not None:
        explain(session.texts, words)
    elif sys.platform == "win32":
        import ctypes

        said = session.texts.message(words)
        ctypes.windll.user32.MessageBoxW(None, f"{said.what}\n\n{said.do}", "Kotaro Bridge", _ERROR_BOX)

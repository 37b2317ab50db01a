"""What every start of the program shares, with windows or without: the global options, folders, sentences, exit codes.

Owns `--simulate` and `--lang`, and what becomes of an error that nobody caught. Must not import the command line: a
tray that waits for days does not carry it.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kotaro_bridge.app import last_words
from kotaro_bridge.app.product import Product, open_windows, tell_not_started
from kotaro_bridge.app.second_start import start_or_show
from kotaro_bridge.app.this_pc import setting_for
from kotaro_bridge.domain.errors import Problem, ProblemError
from kotaro_bridge.domain.settings import OpenedSettings
from kotaro_bridge.host.language import system_language
from kotaro_bridge.host.paths import Paths
from kotaro_bridge.host.settings_store import SettingsStore
from kotaro_bridge.service.time_to_end import end_in_time
from kotaro_bridge.texts import LANGUAGES, Texts

log = logging.getLogger(__name__)

DEFAULT_SCENARIO = "rtx4070-12gb"
OPEN = "--open"
"""With the dashboard in front: the entry of the Start menu. A plain start, as at login, shows the tray icon alone."""


@dataclass(slots=True)
class Session:
    """What the global options say."""

    scenario: str | None = None
    language: str | None = None

    @property
    def texts(self) -> Texts:
        """Sentences in the language asked for, that of the settings, or the system's."""
        return Texts(self.language or self.settings.settings.language or system_language())

    @property
    def settings(self) -> OpenedSettings:
        """The settings as their file has them now; asking leaves no folder behind."""
        user = Paths.of_user()
        paths = Paths(user.simulated_place(self.scenario)) if self.scenario else user
        return SettingsStore(paths.settings_file).read()

    @property
    def paths(self) -> Paths:
        """Folders of the real PC or of the scenario."""
        return Paths(Paths.of_user().simulated(self.scenario)) if self.scenario else Paths.of_user()


session = Session()


@contextmanager
def product(*, owner: bool = False) -> Iterator[Product]:
    """The product on the PC that the options name; `owner` takes the runs of this user and reports leftovers."""
    made = Product(setting_for(session.scenario), session.texts)
    try:
        if owner:
            made.own()
            last_words.log_beginning()
            leftovers = made.supervisor.reap_leftovers()
            for each in (*leftovers, *last_words.of_process().earlier(killed=not leftovers)):
                explain(session.texts, each)
        yield made
    finally:
        late = end_in_time()
        try:
            made.close()
        finally:
            late.cancel()


def explain(texts: Texts, what: Problem) -> None:
    """A problem in words on stderr: what happened, the proving lines, what to do."""
    message = texts.message(what)
    for line in (message.what, *(f"  {line}" for line in what.evidence), message.do):
        if line.strip() and sys.stderr is not None:  # pythonw has no streams at all
            print(line, file=sys.stderr)


class UsageError(Exception):
    """A global option is not as it should be."""


def in_session(arguments: list[str], work: Callable[[list[str]], int]) -> int:
    """Take the global options out of the arguments and run `work` with the rest; the exit code, also of its errors."""
    _utf8_streams()
    try:
        session.scenario, session.language, rest = global_options(arguments)
        return work(rest)
    except ProblemError as error:
        log.info("refused: %s", error.problem)
        explain(session.texts, error.problem)
        return 1
    except UsageError as error:
        if sys.stderr is not None:
            print(f"kotaro-bridge: {error}", file=sys.stderr)
        return 2


def _utf8_streams() -> None:
    """A pipe or a cp932 console must not turn a sentence into a crash; pythonw has no streams at all."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8" if not stream.isatty() else None, errors="replace")


def global_options(arguments: list[str]) -> tuple[str | None, str | None, list[str]]:
    """(scenario, language, remaining arguments). Raises UsageError."""
    values: dict[str, str] = {}
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        name, glued, value = word.partition("=")
        if name not in ("--simulate", "--lang"):
            rest.append(word)
            continue
        value = value if glued else next(words, "")
        if not value or value.startswith("-"):
            raise UsageError(f"option {name} needs a value")
        values[name] = value
    if (language := values.get("--lang")) and language not in LANGUAGES:
        raise UsageError(f"--lang {language}: not one of {', '.join(LANGUAGES)}")
    scenario = values.get("--simulate")
    if scenario is not None and not re.fullmatch(r"[\w-]+(?:\.[\w-]+)*", scenario):  # it becomes the name of a folder
        raise UsageError(f"--simulate {scenario}: no name of a scenario")
    return scenario, values.get("--lang"), rest


def run_tray(words: list[str]) -> int:
    """A plain start, `demo` or nothing, with `--open` or not; see `__main__.opens_windows`."""
    if "demo" in words:
        session.scenario = session.scenario or DEFAULT_SCENARIO
    return run_windows(opened=OPEN in words)


def run_windows(
    tour: Path | None = None, theme: str | None = None, scale: float | None = None, *, opened: bool = False
) -> int:
    """The tray application on the PC that the options name; the exit code when it ends.

    A second start brings the window of the first to the front. Raises ProblemError.
    """

    def start() -> int:
        with product() as made:
            return open_windows(made, opened=opened, tour=tour, theme=theme, scale=scale)

    try:
        return start_or_show(session.paths.state, start)
    except ProblemError as error:
        if sys.stderr is None:  # started from a menu: nobody would see why nothing happens
            tell_not_started(session.texts, error.problem)
        raise

"""The tour: the real windows walk through a day by themselves and leave numbered pictures.

Owns the script. It triggers the same actions as a person and waits for what they lead to, never for a fixed time; a
step that does not come ends the tour with exit code 1 and is named on stderr.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal, Slot
from PySide6.QtWidgets import QApplication, QSystemTrayIcon, QWidget

from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import PhaseChanged
from kotaro_bridge.domain.units import MIB
from kotaro_bridge.ui.desk import Desk
from kotaro_bridge.ui.dialogs.block import HIGHEST
from kotaro_bridge.ui.main_window import USUAL, MainWindow
from kotaro_bridge.ui.pages.dashboard import Dashboard
from kotaro_bridge.ui.shell import Shell
from kotaro_bridge.ui.theme import Theme
from kotaro_bridge.ui.tour_editor import show_editor
from kotaro_bridge.ui.tour_models import show_models
from kotaro_bridge.ui.tour_settings import TourError, Until, show_app_settings, show_settings
from kotaro_bridge.ui.view_models.status import card_of, is_blocked
from kotaro_bridge.ui.widgets.state_sheet import StateSheet

TICK_MS = 40
WHOLE_S = 36.0
"""The command line promises 40 s; the rest is for stopping what still runs."""
BEFORE_S = {
    "a model in the place of another": 16.0,
    "a model that sees": 15.0,
    "a refusal": 25.0,
    "the profile editor": 28.0,
    "a try": 22.0,
    "the models": 29.0,
    "a download": 25.0,
    "the settings": 31.0,
    "the settings of WSL": 31.0,
}
"""When each part of the tour may begin at the latest, in seconds from its start; a slow machine sees less of it."""
FREED_WITHIN = 256 * MIB
STOP_S = 4.0
COMFORT = 0.95
"""Share of the free memory that the tour's model may need."""
ANSWER_BEGUN = 100
"""Characters of an answer that is worth a picture."""


def run_tour(app: QApplication, desk: Desk, folder: Path, scheme: str | None) -> int:
    """Walk through the windows and save pictures.

    Args:
        folder: where the pictures go; made if it is not there.
        scheme: `light` or `dark`; None follows the system.

    Returns:
        0 if every step came, else 1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    theme = Theme(app, scheme)
    shell = Shell(desk, theme, tray_visible=QSystemTrayIcon.isSystemTrayAvailable())
    tour = Tour(desk, shell, theme, folder)
    tour.done.connect(app.exit)
    QTimer.singleShot(0, tour.start)
    code = app.exec()
    # Its bound on the last stop may still be running: an exit after the loop's end would end every later loop at once.
    tour.done.disconnect(app.exit)
    shell.close()
    return code


class Tour(QObject):
    """Walks the script; emits `done` with the exit code."""

    done = Signal(int)

    def __init__(self, desk: Desk, shell: Shell, theme: Theme, folder: Path) -> None:
        super().__init__()
        self._desk = desk
        self._shell = shell
        self._theme = theme
        self._folder = folder
        self._count = 0
        self._began = time.monotonic()
        self._passing: dict[Phase, str] = {}
        self._step: Until | None = None
        self._deadline = 0.0
        self._failed = False
        self._script = self._walk()
        self._timer = QTimer(self)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._tick)
        shell.ended.connect(self._on_ended)

    @Slot()
    def start(self) -> None:
        """Take the first step."""
        self._timer.start()
        self._next()

    # --- the script ---------------------------------------------------------------------------------------------

    def _walk(self) -> Iterator[Until]:
        desk, shell = self._desk, self._shell
        self._shoot(StateSheet(desk.texts), "tray-icons")
        yield Until("a first look at the graphics card", lambda: desk.telemetry.latest() is not None)
        chosen = choose(desk)
        good, image, refused = chosen.good, chosen.image, chosen.refused
        if good is None and refused is None:
            raise TourError("a model to start")
        self._shoot_menu("tray-menu")
        shell.tray.open_dashboard.trigger()
        window = self._window()
        # Connected after the window's own, so that a picture shows the state that it is of.
        shell.bridge.phase_changed.connect(self._on_phase)
        window.resize(USUAL)  # whatever the screen: the pictures show it as it is meant
        yield self._settled()
        self._shoot(window, "dashboard-idle")
        if good is not None:
            window.models.select(good.id)
            used = self._used(good)
            yield from self._run(good, window)
            yield from self._look_around(good, window)
            rival = chosen.rival if self._in_time("a model in the place of another") else None
            if rival is not None:
                yield from self._take_the_place(rival, good, window)
            yield from self._stop(rival or good, window, used)
        if image is not None and image is not good and self._in_time("a model that sees"):
            yield from self._run_with_picture(image, window)
        if refused is not None and self._in_time("a refusal"):
            yield from self._refusal(refused, window)
        edited = good or refused
        if edited is not None and self._in_time("the profile editor"):
            tries = good is not None and self._in_time("a try")
            yield from show_editor(shell, window, edited, self._shoot, tries=tries)
        if self._in_time("the models"):
            yield from show_models(shell, self._shoot, download=self._in_time("a download"))
        if self._in_time("the settings"):
            yield from show_app_settings(shell, self._shoot)
        if self._in_time("the settings of WSL"):
            yield from show_settings(shell, self._shoot)
        self._theme.force("dark")
        yield self._settled()
        self._shoot(window, "dashboard-dark")

    def _in_time(self, part: str) -> bool:
        """Whether a part may begin now; one that may not is named on stderr."""
        in_time = time.monotonic() - self._began < BEFORE_S[part]
        if not in_time:
            print(f"tour: no time for {part}", file=sys.stderr)
        return in_time

    def _run(self, profile: Profile, window: MainWindow) -> Iterator[Until]:
        """From the menu's start to an answer that streams; the first answer gives the graphs something to show."""
        self._passing = {Phase.CHECKING: "checking", Phase.LOADING: "loading"}
        self._shell.tray.starts[profile.id].trigger()
        yield from self._until_ready(profile)
        self._shoot(window, "ready")
        yield from self._ask(profile, window, None)
        yield from self._ask(profile, window, "answer")

    def _until_ready(self, profile: Profile) -> Iterator[Until]:
        yield from self._until(profile, "ready", (Phase.READY,))

    def _until(self, profile: Profile, word: str, wanted: tuple[Phase, ...]) -> Iterator[Until]:
        what = f"{profile.title} {word}"
        yield Until(what, lambda: self._phase(profile) in wanted or is_blocked(self._phase(profile)), 20)
        if self._phase(profile) not in wanted:
            if profile.id in self._shell.dialogs:
                self._shoot(self._shell.dialogs[profile.id], "not-ready")
            raise TourError(what)

    def _ask(self, profile: Profile, window: MainWindow, name: str | None) -> Iterator[Until]:
        dashboard = self._dashboard(window)
        ends: list[bool] = []
        dashboard.test.finished.connect(ends.append)
        dashboard.test.button.click()
        answer = dashboard.test.answer
        yield Until("an answer that streams", lambda: len(answer.toPlainText()) > ANSWER_BEGUN or bool(ends))
        yield Until("tokens per second while it answers", lambda: self._answering(profile) or bool(ends))
        if name is not None:
            self._shoot(window, f"{name}-streaming")
        yield Until("the end of the answer", lambda: bool(ends))
        yield Until("an answer without error", lambda: ends[-1], 0)
        if name is not None:
            self._shoot(window, f"{name}-done")

    def _look_around(self, profile: Profile, window: MainWindow) -> Iterator[Until]:
        dashboard = self._dashboard(window)
        for index, name in ((1, "proof"), (2, "log")):
            dashboard.tabs.setCurrentIndex(index)
            yield self._settled()
            self._shoot(window, name)
        dashboard.tabs.setCurrentIndex(0)
        self._shoot_menu("tray-menu-running")

    def _stop(self, profile: Profile, window: MainWindow, used: int) -> Iterator[Until]:
        self._passing = {Phase.STOPPING: "stopping"}
        self._dashboard(window).header.button.click()
        yield Until(f"{profile.title} stopped", lambda: self._phase(profile) is Phase.STOPPED)
        yield Until("video memory free again", lambda: self._used(profile) <= used + FREED_WITHIN)
        yield self._settled()
        self._shoot(window, "stopped-memory-free")

    def _take_the_place(self, profile: Profile, of: Profile, window: MainWindow) -> Iterator[Until]:
        """A second model finds the card taken, and one click stops the first and starts it."""
        yield from self._refused(profile, window)
        yield from self._apply(profile)
        yield Until(f"{of.title} stopped", lambda: self._phase(of) is Phase.STOPPED, 0)

    def _apply(self, profile: Profile) -> Iterator[Until]:
        """Click the best remedy of a refused model, and see it load."""
        dialog = self._shell.dialogs[profile.id]
        yield Until(f"a remedy for {profile.title}", lambda: bool(dialog.remedies), 0)
        self._shoot(dialog, "refused-remedies")
        self._passing = {Phase.LOADING: "remedy-loading"}
        dialog.remedies[0].click()
        self._shoot(dialog, "remedy-under-way")
        yield Until(f"a new start of {profile.title}", lambda: self._phase(profile) is not Phase.REFUSED)
        yield from self._until(profile, "loading", (Phase.LOADING, Phase.PROVING, Phase.READY))

    def _run_with_picture(self, profile: Profile, window: MainWindow) -> Iterator[Until]:
        used = self._used(profile)
        window.models.select(profile.id)
        self._shell.tray.starts[profile.id].trigger()
        yield from self._until_ready(profile)
        self._dashboard(window).test.with_image.setChecked(True)
        yield from self._ask(profile, window, "picture")
        yield from self._stop(profile, window, used)

    def _refused(self, profile: Profile, window: MainWindow) -> Iterator[Until]:
        window.models.select(profile.id)
        self._shell.tray.starts[profile.id].trigger()
        yield Until(f"{profile.title} refused", lambda: self._phase(profile) is Phase.REFUSED)
        yield Until("the dialog that says why", lambda: profile.id in self._shell.dialogs)
        self._shell.dialogs[profile.id].fit(HIGHEST)  # whatever the screen, as the window
        yield self._settled()

    def _refusal(self, profile: Profile, window: MainWindow) -> Iterator[Until]:
        yield from self._refused(profile, window)
        used = self._used(profile)
        if self._desk.supervisor.view(profile.id).remedies:
            yield from self._apply(profile)
            yield from self._until_ready(profile)
            self._shoot(window, "remedy-ready")
            yield from self._stop(profile, window, used)
            return
        dialog = self._shell.dialogs[profile.id]
        self._shoot(dialog, "refused")
        dialog.folds[0].click()
        dialog.fit(HIGHEST)
        yield self._settled()
        self._shoot(dialog, "refused-all-checks")
        dialog.close_button.click()
        self._shoot(window, "refused-dashboard")

    # --- how it walks -------------------------------------------------------------------------------------------

    def _settled(self) -> Until:
        """One round of the event loop, in which layouts and paint events come to rest."""
        return Until("the window", lambda: True)

    @Slot()
    def _tick(self) -> None:
        step = self._step
        if step is None:
            return
        now = time.monotonic()
        if step.holds():
            self._next()
        elif now > self._deadline or now - self._began > WHOLE_S:
            self._fail(step.what)

    def _next(self) -> None:
        try:
            self._step = next(self._script)
        except StopIteration:
            self._leave()
        except TourError as error:
            self._fail(str(error))
        else:
            self._deadline = time.monotonic() + self._step.seconds

    def _fail(self, what: str) -> None:
        states = ", ".join(
            f"{profile.title}: {self._reason(profile)}"
            for profile in self._desk.supervisor.profiles()
            if self._phase(profile) is not Phase.IDLE
        )
        print(f"tour: this did not come: {what} ({states})", file=sys.stderr)
        self._failed = True
        self._leave()

    def _reason(self, profile: Profile) -> str:
        view = self._desk.supervisor.view(profile.id)
        return f"{view.phase}" + (f", {self._desk.texts.message(view.problem).what}" if view.problem else "")

    def _leave(self) -> None:
        """Quit as a person does; what does not stop in time is left to the guardian."""
        self._timer.stop()
        self._step = None
        QTimer.singleShot(round(STOP_S * 1000), self._on_ended)
        self._shell.tray.quit.trigger()

    @Slot()
    def _on_ended(self) -> None:
        self.done.emit(1 if self._failed else 0)

    @Slot(object)
    def _on_phase(self, change: PhaseChanged) -> None:
        """States that pass quickly are photographed when they come."""
        name = self._passing.pop(change.view.phase, None)
        if name is not None and self._shell.window is not None:
            self._shoot(self._shell.window, name)

    def _shoot(self, widget: QWidget, name: str) -> None:
        self._count += 1
        path = self._folder / f"{self._count:02}-{name}.png"
        if not widget.grab().save(str(path)):
            raise TourError(f"a picture at {path}")

    def _shoot_menu(self, name: str) -> None:
        menu = self._shell.tray.menu
        menu.aboutToShow.emit()
        menu.ensurePolished()
        menu.resize(menu.sizeHint())  # adjustSize stops at two thirds of the screen
        self._shoot(menu, name)

    def _window(self) -> MainWindow:
        if self._shell.window is None:
            raise TourError("the main window")
        return self._shell.window

    def _dashboard(self, window: MainWindow) -> Dashboard:
        if window.dashboard is None:
            raise TourError("a model to show")
        return window.dashboard

    def _phase(self, profile: Profile) -> Phase:
        return self._desk.supervisor.view(profile.id).phase

    def _used(self, profile: Profile) -> int:
        card = card_of(self._desk.telemetry.latest(), profile.gpus)
        return card.used if card is not None and card.used is not None else 0

    def _answering(self, profile: Profile) -> bool:
        return any(
            rate.profile_id == profile.id and (rate.generation_tps or 0) > 0
            for sample in self._desk.telemetry.history()[-3:]
            for rate in sample.throughput
        )


@dataclass(frozen=True, slots=True)
class Chosen:
    """The models of a tour.

    Args:
        good: the largest that fits; image: one with pictures that fits.
        rival: fits alone, and not beside `good`.
        refused: does not fit now; one that the whole card could hold before one that it could not.
    """

    good: Profile | None
    image: Profile | None
    rival: Profile | None
    refused: Profile | None


def choose(desk: Desk) -> Chosen:
    """By the needs that the profiles state, and the card as it is now.

    Where none fits, or the card does not answer, the tour shows the refusal alone; where all fit, there is none.
    """
    card = card_of(desk.telemetry.latest(), (0,))
    free = card.free if card is not None and card.free is not None else 0
    total = card.total if card is not None else 0
    sized = sorted(desk.supervisor.profiles(), key=lambda profile: profile.stated_need or 0)
    fitting = [profile for profile in sized if 0 < (profile.stated_need or 0) <= COMFORT * free]
    refused = [profile for profile in sized if (profile.stated_need or 0) > free]
    image = next((profile for profile in fitting if profile.sees_images), None)
    good = fitting[-1] if fitting else None
    room = free - (good.stated_need or 0) if good is not None else 0
    rival = next((profile for profile in fitting if profile is not good and (profile.stated_need or 0) > room), None)
    held = [profile for profile in refused if (profile.stated_need or 0) <= total]
    return Chosen(good, image, rival, next(reversed(held or refused), None))

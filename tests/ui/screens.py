"""Every window in one language, scheme and scale as pictures, the texts in them that are cut off, and the letters that
lead to two places.

Run as a program, since the scale of Qt is fixed for a process: `python -m tests.ui.screens FOLDER SCHEME…`, scale from
`QT_SCALE_FACTOR`. Prints one line for each text that does not fit and exits with 1 if there is one.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QCoreApplication, QElapsedTimer
from PySide6.QtWidgets import QApplication, QWidget

from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import Notice, Speed
from kotaro_bridge.domain.settings import LoginStart
from kotaro_bridge.domain.update import Release, UpdateState, UpdateView
from kotaro_bridge.domain.wsl.wslconfig_effect import Effect, EffectReport
from kotaro_bridge.service.trial import TrialEnd, TrialResult
from kotaro_bridge.texts import LANGUAGES
from kotaro_bridge.ui.dialogs.block import HIGHEST, BlockDialog
from kotaro_bridge.ui.dialogs.wslconfig import WslConfigDialog
from kotaro_bridge.ui.dialogs.wslconfig_window import USUAL as SETTINGS_SIZE
from kotaro_bridge.ui.first_icon import make_application
from kotaro_bridge.ui.main_window import SMALLEST, USUAL, MainWindow
from kotaro_bridge.ui.shell import Shell
from kotaro_bridge.ui.theme import Theme
from tests.helpers.memory_store import MemoryStore
from tests.ui.fake_desk import A14, CARD, CPM, F7, PROFILES, Q14, Q32, REMEDIES, FakeWorld, gate
from tests.ui.screen_faults import cut_off, shared_keys
from tests.ui.screens_models import shoot_models

SETTLE_MS = 60
SETTINGS = b"""# \x83\x81\x83\x82\r
[wsl2]\r
memory=30GB\r
swap=8gb\r
memroy=4GB\r
swapFile=C:\\temp\\swap.vhdx\r
networkingMode=bridged\r
\r
[experimental]\r
autoMemoryReclaim=gradual\r
"""
BROKEN = SETTINGS + b"=junk\r\n" * 30 + b"\0\x1a\r\n"
"""Everything that is asked about before a save."""
LONG_VALUES = {
    "wsl2.kernelCommandLine": "cgroup_no_v1=all systemd.unified_cgroup_hierarchy=1 " * 4,
    "wsl2.swapFile": "D:\\" + "a-folder-with-a-long-name\\" * 6 + "swap.vhdx",
    "wsl2.memory": "24GB",
    "wsl2.processors": "8",
    "wsl2.vmIdleTimeout": "600000",
    "wsl2.guiApplications": "false",
}
LONG_PROOF = EffectReport(
    tuple(
        Effect(f"wsl2.{key}", LONG_VALUES[f"wsl2.{key}"], "initrd=\\initrd.img panic=-1 " * 6, False, problem(why))
        for key in ("kernelCommandLine", "swapFile", "memory")
        for why in ("wslconfig.effect.fallback_nat", "wslconfig.effect.policy_maybe")
    )
)
PROOF = EffectReport(
    (
        Effect("wsl2.memory", "12 GB", "11.7 GB", True, None),
        Effect("wsl2.networkingMode", "Bridged", "Nat", False, problem("wslconfig.advice.mode_bridged")),
        Effect("wsl2.localhostForwarding", "On", "?", None, problem("wslconfig.advice.localhost_off")),
    )
)


def settle() -> None:
    """Let layouts and paint events come to rest."""
    timer = QElapsedTimer()
    timer.start()
    while timer.elapsed() < SETTLE_MS:
        QCoreApplication.processEvents()


class Studio:
    """One world in one language and scheme, photographed state by state."""

    def __init__(self, app: QApplication, folder: Path, language: str, scheme: str) -> None:
        self._folder = folder
        self._suffix = f"{scheme}-{language}-{round(app.devicePixelRatio() * 100)}"
        self.world = FakeWorld(language)
        self.world.telemetry.fill(40)
        self.shell = Shell(self.world.desk, Theme(app, scheme), tray_visible=False)
        self.faults: list[str] = []

    def shoot(self, widget: QWidget, name: str) -> None:
        """Save a picture and look for texts that are cut off."""
        if isinstance(widget, BlockDialog):
            widget.fit(HIGHEST)  # the platform's screen is smaller than any real one
        settle()
        if any(cut_off(widget)):
            settle()  # on a busy machine layouts take longer; what does not fit still does not
        widget.grab().save(str(self._folder / f"{name}-{self._suffix}.png"))
        self.faults += [f"{name}-{self._suffix}: {fault}" for fault in (*cut_off(widget), *shared_keys(widget))]

    def walk(self) -> None:
        """All states of all windows."""
        world, shell = self.world, self.shell
        shell.open_dashboard()
        assert shell.window is not None
        assert shell.window.dashboard is not None
        window, board = shell.window, shell.window.dashboard
        window.resize(USUAL)
        self.shoot(window, "idle")
        self._phases(window)
        world.telemetry.fill(60, Q14.id, 10405, gap=(20, 25))
        world.telemetry.tick()
        board.test.button.click()
        world.join()
        for number, name in enumerate(("ready", "proof", "log")):
            board.tabs.setCurrentIndex(number)
            self.shoot(window, name)
        board.tabs.setCurrentIndex(0)
        shell.tray.menu.aboutToShow.emit()
        self.shoot(shell.tray.menu, "menu")
        world.supervisor.move(CPM.id, Phase.READY)
        window.models.select(CPM.id)
        self.shoot(window, "images")
        window.resize(SMALLEST)
        self.shoot(window, "images-small")
        self._refusals()
        self._settings()
        self._program()
        self._editor()
        shoot_models(world, shell, self.shoot, self._opened)
        window.models.select(Q32.id)
        self.shoot(window, "refused-small")

    def _phases(self, window: MainWindow) -> None:
        for phase in (Phase.CHECKING, Phase.LOADING, Phase.PROVING, Phase.STOPPING, Phase.UNRESPONSIVE, Phase.READY):
            self.world.supervisor.move(Q14.id, phase)
            self.shoot(window, f"phase-{phase}")
        supervisor, board = self.world.supervisor, window.dashboard
        assert board is not None
        board.tabs.setCurrentWidget(board.proof)
        supervisor.move(Q14.id, Phase.READY, speed=Speed(11.4, 0.19, slow=True))
        self.shoot(window, "slow")
        supervisor.warn(Q14.id)
        self.shoot(window, "warned")
        self.shell.explain(Q14.id)
        self.shoot(self.shell.dialogs[Q14.id], "warned-details")
        board.tabs.setCurrentIndex(0)
        supervisor.move(Q14.id, Phase.PROVING)
        self.shoot(window, "proving-again")
        supervisor.move(Q14.id, Phase.READY, speed=Speed(38.2, 0.63, 37.5))
        settle()

    def _refusals(self) -> None:
        supervisor, dialogs = self.world.supervisor, self.shell.dialogs
        scenes: dict[str, tuple[str, Callable[[], None]]] = {
            "block": (Q32.id, lambda: supervisor.refuse(Q32.id, gate(21500, port_free=False))),
            "failed": (A14.id, lambda: supervisor.fail(A14.id)),
            "orphaned": (PROFILES[2].id, lambda: supervisor.orphan(PROFILES[2].id)),
        }
        for name, (profile_id, happen) in scenes.items():
            happen()
            settle()
            self.shoot(dialogs[profile_id], name)
        dialogs[Q32.id].folds[0].click()
        self.shoot(dialogs[Q32.id], "block-all")
        supervisor.refuse(F7.id, gate(11600, 4200), *REMEDIES)
        settle()
        self.shoot(dialogs[F7.id], "remedies")
        dialogs[F7.id].remedies[0].click()
        self.shoot(dialogs[F7.id], "remedies-busy")

    def _settings(self) -> None:
        wsl = self.world.wslconfig
        wsl.use(MemoryStore(SETTINGS))
        self.shell.open_settings()
        dialog = self.shell.settings
        assert dialog is not None
        dialog.resize(dialog.minimumSize())
        self.shoot(dialog, "settings-small")
        form = dialog.edit.form
        form.fold.click()
        settle()
        need, room = form.content.minimumSizeHint().width(), form.viewport().width()
        if need > room:
            self.faults.append(f"settings {self._suffix}: the form needs {need} of {room} pixels")
        form.fold.click()
        dialog.resize(SETTINGS_SIZE)
        self.shoot(dialog, "settings")
        form.fold.click()
        for key in ("wsl2.vmIdleTimeout", "wsl2.kernelModules", "wsl2.dnsProxy", "experimental.ignoredPorts"):
            form.show_key(key)
            self.shoot(dialog, f"settings-{key.partition('.')[2]}")
        dialog.edit.tabs.setCurrentIndex(1)
        self.shoot(dialog, "settings-text")
        form.rows["wsl2.memory"].use.click()
        dialog.close()
        self.shoot(dialog, "settings-closing")
        dialog.review()
        self.shoot(dialog, "settings-review")
        wsl.store.data = SETTINGS.replace(b"30GB", b"12GB")  # type: ignore[attr-defined]
        dialog.save()
        self.world.join()
        self.shoot(dialog, "settings-clash")
        dialog.clash_page.go_on.click()
        form.rows["wsl2.swap"].use.click()
        dialog.review()
        dialog.review_page.boxes[0].click()
        held = threading.Event()
        wsl.store.before_replace = lambda: held.wait(10)  # type: ignore[attr-defined]
        dialog.save(True)
        self.shoot(dialog, "settings-saving")
        held.set()
        self.world.join()  # the save
        settle()
        self.world.join()  # the question what runs
        self.shoot(dialog, "settings-restart")
        wsl.report = PROOF
        dialog.restart_page.now.click()
        self.world.join()
        self.shoot(dialog, "settings-proof")
        dialog.show_backups()
        self.shoot(dialog, "settings-backups")
        dialog.show_edit()
        self._bad_day(dialog)
        dialog.close()
        wsl.running_with = None
        assert self.shell.window is not None
        self.shell.window.show_pending()

    def _program(self) -> None:
        """The application's own settings, and what it tells of itself."""
        world, shell = self.world, self.shell
        world.settings.login = LoginStart(True, elsewhere=f'"{LONG_VALUES["wsl2.swapFile"]}" --open')
        shell.open_app_settings()
        self._opened()
        window = shell.app_settings
        assert window is not None
        self.shoot(window, "program")
        window.resize(window.minimumSize())
        release = Release("0.2.0", "", "", 60 << 20, "0" * 64)
        for state in UpdateState:
            why = problem("update.no_feed") if state is UpdateState.FAILED else None
            world.updates.show(UpdateView(state, "0.1.0", True, release, 20 << 20, 0.0, why))
            settle()
            self.shoot(window, f"program-{state}")
        window.help.write(self._folder / f"diagnostics-{self._suffix}.zip")
        self._opened()
        self.shoot(window, "program-saved")
        window.close()
        board = shell.window
        assert board is not None
        for what in ("app.crashed_before", "update.available"):
            world.bus.publish(Notice(problem(what, path="C:\\crash.txt", at="11:30", version="0.2.0", current="0.1.0")))
            settle()
            board.resize(SMALLEST)
            self.shoot(board, what.replace(".", "-"))
            board.drop_notice(what)

    def _bad_day(self, dialog: WslConfigDialog) -> None:
        """Everything at once in the smallest window: damage, many changes, long values, a long proof."""
        wsl = self.world.wslconfig
        assert isinstance(wsl.store, MemoryStore)
        wsl.store.data = BROKEN
        dialog.resize(dialog.minimumSize())
        dialog.look_outside()
        for key, value in LONG_VALUES.items():
            dialog.edit.form.edited.emit(key, value)
        dialog.review()
        self.shoot(dialog, "settings-review-small")
        dialog.discard()
        wsl.report = LONG_PROOF
        dialog.show_proof()
        self.world.join()
        self.shoot(dialog, "settings-proof-small")
        dialog.show_edit()

    def _editor(self) -> None:
        """The profile editor in its smallest window, as it is at its fullest."""
        world, editors = self.world, self.shell.editors
        cards = (CARD, replace(CARD, index=1, uuid="GPU-2", name="NVIDIA GeForce RTX 3060"))
        world.telemetry.samples.append(replace(world.telemetry.samples[-1], gpus=cards))
        editors.edit(Q32.id)
        self._opened()
        window = editors.windows[0]
        window.resize(window.minimumSize())
        for box in window.fields.cards.boxes.values():
            box.setChecked(False)
            box.click()
        fields = window.fields.widget()
        assert fields is not None
        need, room = fields.minimumSizeHint().width(), window.fields.viewport().width()
        if need > room:
            self.faults.append(f"editor {self._suffix}: the fields need {need} of {room} pixels")
        self.shoot(window, "editor-cards")
        window.fields.more.click()
        window.fields.fill(window.fields.texts() | {"title": "", "context": "9", "extra_args": "-ngl 20 --foo"})
        window.fields.edited.emit()
        for key in ("title", "target", "extra_args"):
            window.fields.ensureWidgetVisible(window.fields.rows[key])
            self.shoot(window, f"editor-wrong-{key}")
        window.close()
        self.shoot(window, "editor-closing")
        window.bar.answers[1].click()
        editors.edit(A14.id)
        self._opened()
        window = editors.windows[0]
        window.resize(window.minimumSize())
        window.fields.more.click()
        window.fields.ensureWidgetVisible(window.fields.rows["vllm.trust_remote_code"])
        self.shoot(window, "editor-vllm")
        world.profiles.result = TrialResult(TrialEnd.REFUSED, world.supervisor.view(Q32.id))
        window.tries.panel.start.click()
        self._opened()
        window.side.ensureWidgetVisible(window.tries.panel.outcome, 0, 300)
        self.shoot(window, "editor-refused")
        window.close()
        editors.new()
        self._opened()
        window = editors.windows[0]
        window.resize(window.minimumSize())
        window.choose()
        self._opened()
        self.shoot(window.picker, "editor-picker")
        window.picker.take()
        window.fields.fill(window.fields.texts() | {"model": "~/models/q14.gguf"})
        window.fields.edited.emit()
        self._opened()
        window.tries.panel.start.click()
        self._opened()
        window.side.ensureWidgetVisible(window.tries.panel.outcome, 0, 300)
        self.shoot(window, "editor-tried")
        window.side.ensureWidgetVisible(window.plans.command.note)
        self.shoot(window, "editor-command")
        window.close()
        window.bar.answers[1].click()

    def _opened(self) -> None:
        """Let what was asked in the background come back."""
        settle()
        self.world.join()
        settle()

    def close(self) -> None:
        """Take the windows down."""
        self.shell.close()
        self.world.profiles.close()


def main(folder: Path, *schemes: str) -> int:
    """All languages in these schemes at the scale of this process."""
    folder.mkdir(parents=True, exist_ok=True)
    app = make_application()
    faults: list[str] = []
    for language in LANGUAGES:
        for scheme in schemes:
            studio = Studio(app, folder, language, scheme)
            studio.walk()
            studio.close()
            faults += studio.faults
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), *sys.argv[2:]))

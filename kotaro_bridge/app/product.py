"""The composition root: puts the layers together, for the windows and for the command line.

With `this_pc.py`, the only one that imports all layers. Qt is imported inside `open_windows` alone, so that a terminal
command starts fast and a machine without a screen needs no Qt.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kotaro_bridge import __version__
from kotaro_bridge.app import last_words
from kotaro_bridge.app.second_start import Doors
from kotaro_bridge.app.this_pc import Setting, wslconfig_store
from kotaro_bridge.build_info import build_info
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.planning.plan_parts import PlannedModel
from kotaro_bridge.domain.run.run_state import RESTING, SERVING
from kotaro_bridge.domain.run.run_view import Notice
from kotaro_bridge.host.app_id import register_app_id
from kotaro_bridge.host.control import ControlServer, OwnerLock, ask
from kotaro_bridge.host.installer_start import show_package, start_installer
from kotaro_bridge.host.language import system_language
from kotaro_bridge.host.log_file import RunLogFile
from kotaro_bridge.host.profile_store import ProfileFolder, load_profiles, new_text
from kotaro_bridge.host.settings_store import SettingsStore
from kotaro_bridge.host.update_memory import UpdateMemoryFile
from kotaro_bridge.own_program import is_frozen
from kotaro_bridge.resources import resource
from kotaro_bridge.service.app_settings import AppSettings
from kotaro_bridge.service.bus import Bus
from kotaro_bridge.service.connect import Connect
from kotaro_bridge.service.model_desk import ModelDesk, ModelSources
from kotaro_bridge.service.owner_desk import OwnerDesk
from kotaro_bridge.service.profile_desk import ProfileDesk
from kotaro_bridge.service.supervisor import Supervisor
from kotaro_bridge.service.telemetry import Telemetry
from kotaro_bridge.service.updates import UpdatePorts, Updates
from kotaro_bridge.service.wslconfig_restart import WslConfigDesk
from kotaro_bridge.texts import Texts

if TYPE_CHECKING:
    from kotaro_bridge.domain.model.catalogue import CatalogueEntry
    from kotaro_bridge.service.diagnostics import Diagnostics
    from kotaro_bridge.service.model_stock import ModelStock
    from kotaro_bridge.ui.desk import About, Desk


def _catalogue() -> tuple[CatalogueEntry, ...]:
    """The catalogue of models, loaded when it is first asked for. Raises ProblemError `catalogue.broken`."""
    from kotaro_bridge.host.catalogue_store import load_catalogue

    return load_catalogue()


class Product:
    """Everything that runs behind a front end. `owner` is False if another process of this user owns the runs.

    Use as a context manager: leaving it stops every run and ends every thread.
    """

    def __init__(self, setting: Setting, texts: Texts) -> None:
        self.setting = setting
        self.texts = texts
        self.bus = Bus()
        paths = setting.paths
        self.supervisor = Supervisor(
            setting.machine,
            self.bus,
            load_profiles(paths.profiles),
            lambda _, run: RunLogFile(paths.logs, run),
            store=ProfileFolder(paths.profiles),
            elsewhere=self._runs_elsewhere,
        )
        self.telemetry = Telemetry(setting.machine, self.bus, self.supervisor.actors)
        self.connect = Connect(setting.machine, self.supervisor)
        self.wslconfig = WslConfigDesk(wslconfig_store(setting), setting.vm, self.supervisor, setting.host_facts)
        self.models = ModelDesk(
            setting.machine, self.supervisor, self._model_stock, ModelSources(_catalogue, self._resolve)
        )
        self.profiles = ProfileDesk(
            setting.machine,
            self.supervisor,
            ProfileFolder(paths.profiles),
            new_text,
            _catalogue,
            lambda: self.models.files().models,
            lambda: self.models.default_target,
        )
        self.settings = AppSettings(SettingsStore(paths.settings_file), setting.login)
        self.updates = Updates(
            __version__,
            UpdatePorts(
                setting.releases,
                UpdateMemoryFile(paths.update_memory),
                lambda: self.settings.read().settings.check_updates,
                start_installer,
                show_package,
            ),
            self.bus.publish,
        )
        self._lock = OwnerLock(paths.state)
        self._control: ControlServer | None = None
        self._follows: Callable[[], None] = lambda: None

    def own(self, on_open: Callable[[], str] = lambda: "none", on_quit: Callable[[], None] | None = None) -> None:
        """Become the owner of this user's runs.

        Args:
            on_open: called when a second start of the application asks for the window; says what came of it.
            on_quit: called when another process asks this one to end; every run is stopped without it.

        Raises:
            ProblemError: `owner.taken` if another process is the owner.
        """
        if not self._lock.acquire():
            raise ProblemError(problem("owner.taken"))
        desk = OwnerDesk(self.supervisor, self.telemetry, self.wslconfig, on_open, on_quit or self.supervisor.stop_all)
        self._control = ControlServer(self.setting.paths.state, desk.handle)
        self.supervisor.watched_by(self.telemetry.samples)
        self._follows = last_words.of_process().follow(self.bus, self.supervisor, self.setting.simulated)
        self.telemetry.start()

    @property
    def is_owner(self) -> bool:
        """True if this process owns the runs of this user."""
        return self._control is not None

    def _resolve(self, name: str, token: str | None) -> PlannedModel:
        from kotaro_bridge.host.model_source import Hub, resolve_model

        return resolve_model(name, Hub(self.setting.hub(), token))

    def _runs_elsewhere(self) -> tuple[tuple[str, int | None], ...]:
        """Runs that serve and that another process of this user owns: profile id, bytes of VRAM taken."""
        return tuple((run["profile"], run["vram_taken"]) for run in self._others() if run["state"] in SERVING)

    def _others(self) -> tuple[dict[str, Any], ...]:
        """Documents of the runs that another process of this user owns."""
        if self._control is not None:
            return ()
        try:
            answer = ask(self.setting.paths.state, {"verb": "status"}) or {"runs": []}
        except ProblemError:
            return ()
        return tuple(answer["runs"])

    def _busy_profiles(self) -> frozenset[str]:
        """Profiles whose run does not rest, whoever owns it."""
        own = (actor.profile.id for actor in self.supervisor.actors() if actor.view.phase not in RESTING)
        return frozenset((*own, *(run["profile"] for run in self._others() if run["state"] not in RESTING)))

    def _model_stock(self) -> ModelStock:
        from kotaro_bridge.app.models import model_stock

        # One process remembers, or a command's end would undo what the application has written.
        unfinished = self.setting.paths.unfinished_downloads if self._control is not None else None
        return model_stock(
            self.setting.models(), self.bus.publish, self.supervisor.profiles, self._busy_profiles, unfinished
        )

    def close(self) -> bool:
        """Stop every run, end every thread; True if nothing is left."""
        self.updates.close()
        self.models.close()
        clean = self.supervisor.close()
        self._follows()
        self.telemetry.close()
        if self._control is not None:
            self._control.close()
        self.setting.close()  # a simulated PC goes on as long as another process has it open
        self._lock.release()
        return clean

    def __enter__(self) -> Product:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _about(product: Product) -> About:
    """Which build this is. Licence texts: the installer puts a folder beside the program."""
    from kotaro_bridge.ui.desk import About

    licences = Path(sys.executable).parent / "licenses" if is_frozen() else resource("..").resolve() / "LICENSE"
    build = build_info()
    if build is None:
        return About(product.setting.paths.logs, licences)
    return About(product.setting.paths.logs, licences, build.commit, build.official, build.made_with)


class _DiagnosticsOf:
    """Implements the windows' `DiagnosticsPort`; what it takes to collect them is loaded when it is asked for."""

    def __init__(self, product: Product) -> None:
        self._product = product

    def contents(self) -> tuple[str, ...]:
        """Names of what the file will hold."""
        return self._made().contents()

    def write(self, path: Path) -> Path:
        """Write the ZIP file there, over one that is there. Blocks. Raises ProblemError."""
        return self._made().write(path)

    def _made(self) -> Diagnostics:
        from kotaro_bridge.app.diagnostics import diagnostics

        product = self._product
        return diagnostics(lambda: product.setting.paths, lambda: product, product.texts)


def desk_of(product: Product) -> Desk:
    """What the windows work with."""
    from kotaro_bridge.ui.desk import Desk

    return Desk(
        supervisor=product.supervisor,
        telemetry=product.telemetry,
        connect=product.connect,
        wslconfig=product.wslconfig,
        models=product.models,
        profiles=product.profiles,
        settings=product.settings,
        updates=product.updates,
        diagnostics=_DiagnosticsOf(product),
        about=_about(product),
        system_language=system_language(),
        bus=product.bus,
        submit=product.supervisor.submit,
        texts=product.texts,
        simulated=product.setting.simulated,
        version=__version__,
    )


def open_windows(
    product: Product,
    *,
    opened: bool = False,
    tour: Path | None = None,
    theme: str | None = None,
    scale: float | None = None,
) -> int:
    """The tray application, as the owner of this user's runs; returns the exit code when it ends.

    Args:
        opened: with the dashboard in front, not in the tray alone.
        tour: walk through it alone and leave numbered pictures there.
        theme: `light` or `dark`; None follows the system.
        scale: 1.5 for 150 %; None follows the system.

    Raises:
        ProblemError: `owner.taken` if another process is the owner.
    """
    from kotaro_bridge.ui.application import run_application

    doors = Doors()
    product.own(doors.open, doors.quit)
    chosen = product.settings.read()

    def heard() -> None:
        """The windows listen: what was told sooner would be lost. In the background, they do not wait for wsl.exe."""
        product.supervisor.submit(partial(_tell_of_earlier, product))
        product.supervisor.submit(partial(_settle_in, product, chosen.problems))

    def ready(show: Callable[[], bool], end: Callable[[], None]) -> None:
        doors.ready(show, end)
        heard()

    if tour is not None:
        heard()  # a walk through the windows takes no visitors
    product.updates.start()
    theme = theme or chosen.settings.theme or None
    crashes = last_words.of_process().crashes
    try:
        return run_application(
            desk_of(product),
            hidden=not opened,
            tour=tour,
            theme=theme,
            scale=scale,
            on_ready=ready,
            crashes=crashes,
        )
    finally:
        doors.close()


def _tell_of_earlier(product: Product) -> None:
    """End what an earlier owner left behind, and say how that one ended."""
    last_words.log_beginning()
    found = product.supervisor.announce_leftovers()
    for each in last_words.of_process().earlier(killed=not found):
        product.bus.publish(Notice(each))


def _settle_in(product: Product, problems: tuple[Problem, ...]) -> None:
    """What a start of the windows does beside them: say what is wrong with the settings, have a name on Windows."""
    for each in problems:
        product.bus.publish(Notice(each))
    if product.setting.simulated is None:
        register_app_id()


def tell_not_started(texts: Texts, what: Problem) -> None:
    """Say in a window why there is no other; returns when it was read."""
    from kotaro_bridge.ui.not_started import tell_not_started

    tell_not_started(texts, what)

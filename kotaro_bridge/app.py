"""The composition root: puts the layers together, for the windows and for the command line.

The only module that imports all layers. Qt is imported inside `open_windows` alone, so that a terminal command starts
fast and a machine without a screen needs no Qt.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kotaro_bridge import __version__, last_words
from kotaro_bridge.build_info import build_info
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.planning.plan_parts import PlannedModel
from kotaro_bridge.domain.ports import Launcher
from kotaro_bridge.domain.ports_app import ReleaseSource, StartsAtLogin
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.run_state import RESTING, SERVING
from kotaro_bridge.domain.run.run_view import Notice
from kotaro_bridge.domain.wsl.wsl_vm import WslVm
from kotaro_bridge.domain.wsl.wslconfig_recommend import HostFacts
from kotaro_bridge.host.app_id import register_app_id
from kotaro_bridge.host.autostart import Autostart
from kotaro_bridge.host.control import ControlServer, OwnerLock, ask
from kotaro_bridge.host.history import SqliteSpeedHistory, SqliteStartHistory
from kotaro_bridge.host.host_facts import host_facts
from kotaro_bridge.host.http_engine import HttpEngine
from kotaro_bridge.host.installer_start import start_installer
from kotaro_bridge.host.language import system_language
from kotaro_bridge.host.launcher_local import LocalLauncher
from kotaro_bridge.host.launcher_wsl import WslLauncher
from kotaro_bridge.host.local_port import local_port_free
from kotaro_bridge.host.log_file import RunLogFile
from kotaro_bridge.host.nvml import NvmlProbe
from kotaro_bridge.host.ollama import HttpOllama, ollama_address
from kotaro_bridge.host.paths import Paths
from kotaro_bridge.host.profile_store import ProfileFolder, load_profiles, new_text
from kotaro_bridge.host.release_feed import ReleaseFeed
from kotaro_bridge.host.settings_store import SettingsStore
from kotaro_bridge.host.update_memory import UpdateMemoryFile
from kotaro_bridge.host.win_counters import WindowsCounters
from kotaro_bridge.host.winproc import find_wsl
from kotaro_bridge.host.wsl_vm import WslExeVm
from kotaro_bridge.host.wslconfig_file import WslConfigFile
from kotaro_bridge.own_program import gui_argv, is_frozen
from kotaro_bridge.resources import resource
from kotaro_bridge.second_start import Doors
from kotaro_bridge.service.app_settings import AppSettings
from kotaro_bridge.service.bus import Bus
from kotaro_bridge.service.connect import Connect
from kotaro_bridge.service.machine import Machine
from kotaro_bridge.service.model_desk import ModelDesk, ModelSources
from kotaro_bridge.service.model_ports import LOCAL
from kotaro_bridge.service.owner_desk import OwnerDesk
from kotaro_bridge.service.profile_desk import ProfileDesk
from kotaro_bridge.service.supervisor import Supervisor
from kotaro_bridge.service.telemetry import Telemetry
from kotaro_bridge.service.updates import UpdatePorts, Updates
from kotaro_bridge.service.wslconfig_edit import Editor
from kotaro_bridge.service.wslconfig_restart import WslConfigDesk, model_loads, models_seen
from kotaro_bridge.texts import Texts

if TYPE_CHECKING:
    from kotaro_bridge.domain.model.catalogue import CatalogueEntry
    from kotaro_bridge.service.diagnostics import Diagnostics
    from kotaro_bridge.service.model_ports import ModelPorts
    from kotaro_bridge.service.model_stock import ModelStock
    from kotaro_bridge.simulator.pc import SimulatedPC
    from kotaro_bridge.ui.desk import About, Desk

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Setting:
    """On which PC everything happens: the real one, or a simulated one.

    Args:
        simulated: name of the scenario; None on the real PC.
        wslconfig: this user's `.wslconfig`, which may not exist; host_facts: what its advice is measured by.
        vm: WSL as a whole.
        models: what model files are reached by; hub: address of the Hugging Face hub, "" for the usual one.
        windows: the way to wsl.exe itself.
        login: what starts when this user logs in; releases: where newer versions are found, None for nowhere.
    """

    machine: Machine
    paths: Paths
    simulated: str | None
    close: Callable[[], None]
    wslconfig: Path
    host_facts: Callable[[], HostFacts]
    vm: WslVm
    models: Callable[[], ModelPorts]
    login: StartsAtLogin
    windows: WslLauncher
    hub: Callable[[], str] = lambda: ""
    releases: ReleaseSource | None = None


def real_setting() -> Setting:
    """This PC."""
    wsl = [find_wsl() or "wsl.exe"]
    windows, local, paths = WslLauncher(wsl, None), LocalLauncher(), Paths.of_user()
    wslconfig = Path.home() / ".wslconfig"

    def launcher(profile: Profile) -> Launcher:
        if not profile.is_local:
            return WslLauncher(wsl, profile.distro)
        if sys.platform == "win32":
            raise ProblemError(problem("profile.local_on_windows", id=profile.id))
        return local

    machine = Machine(
        gpu=NvmlProbe(),
        counters=WindowsCounters(),
        launcher=launcher,
        http=HttpEngine.for_profile,
        port_free=local_port_free,
        wslconfig=partial(_read_if_there, wslconfig),
        installed_distros=windows.installed,
        running_distros=windows.running,
        ollama=HttpOllama(ollama_address(os.environ)),
        speeds=SqliteSpeedHistory(paths.history),
        starts=SqliteStartHistory(paths.starts),
    )
    vm = WslExeVm(lambda distro: WslLauncher(wsl, distro))

    def models() -> ModelPorts:
        from kotaro_bridge.app_models import real_model_ports

        return real_model_ports(wsl)

    return Setting(
        machine,
        paths,
        None,
        lambda: None,
        wslconfig,
        host_facts,
        vm,
        models,
        login=Autostart(gui_argv()),
        windows=windows,
        releases=_release_feed(paths),
    )


def _release_feed(paths: Paths) -> ReleaseFeed | None:
    """The feed that the build names; None where it names none, as from source."""
    build = build_info()
    return ReleaseFeed(build.feed, paths.installers, __version__) if build is not None and build.feed else None


def simulated_setting(scenario: str) -> Setting:
    """A simulated PC, the same one for all commands of this user that name the scenario.

    Raises:
        ProblemError: there is no such scenario, or no Linux side can be run here.
    """
    from kotaro_bridge.simulator.login import SimulatedLogin
    from kotaro_bridge.simulator.pc import SimulatedPC
    from kotaro_bridge.simulator.scenario import load

    load(scenario)  # before a folder is made for a name that is none
    folder = Paths.of_user().simulated(scenario)
    pc: SimulatedPC = SimulatedPC.open(scenario, folder / "pc")
    windows, paths = WslLauncher(pc.wsl_argv, None, pc.env), Paths(folder)
    # Runs on a simulated PC are not those of this machine: its owner must not end what the real one started.
    environment = {**os.environ, **pc.local_env, "XDG_STATE_HOME": str(folder / "pc" / "local-state")}

    def launcher(target: str) -> LocalLauncher | WslLauncher:
        if target == LOCAL:
            return LocalLauncher(environment)
        return WslLauncher(pc.wsl_argv, target.removeprefix("wsl:") or None, pc.env)

    machine = Machine(
        gpu=pc.gpu,
        counters=pc.counters,
        launcher=lambda profile: launcher(profile.target),
        http=HttpEngine.for_profile,
        port_free=pc.windows_port_free,
        wslconfig=partial(_read_if_there, pc.wslconfig_path),
        installed_distros=windows.installed,
        running_distros=windows.running,
        ollama=HttpOllama(pc.ollama_address),
        speeds=SqliteSpeedHistory(paths.history),
        starts=SqliteStartHistory(paths.starts),
    )
    vm = WslExeVm(lambda distro: WslLauncher(pc.wsl_argv, distro, pc.env))

    def models() -> ModelPorts:
        from kotaro_bridge.app_models import simulated_model_ports

        return simulated_model_ports(pc, scenario, launcher)

    return Setting(
        machine,
        paths,
        scenario,
        pc.close,
        pc.wslconfig_path,
        pc.host_facts,
        vm,
        models,
        login=SimulatedLogin(folder / "starts-at-login"),
        windows=windows,
        hub=pc.hub_address,
    )


def setting_for(scenario: str | None) -> Setting:
    """The simulated PC of a scenario, or the real one for None."""
    return simulated_setting(scenario) if scenario else real_setting()


def _read_if_there(path: Path) -> bytes | None:
    """The file's bytes; None if there is no such file. Raises ProblemError if it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProblemError(problem("storage.unusable", path=str(path), detail=str(error))) from error


def wslconfig_editor(setting: Setting, file: str | None = None) -> Editor:
    """An editor of a `.wslconfig`: that of this user without `file`.

    Raises:
        ProblemError: the file cannot be read.
    """
    profiles, _ = load_profiles(setting.paths.profiles)
    models = model_loads(profiles, models_seen(profiles, setting.vm))
    return Editor(wslconfig_store(setting, file), replace(setting.host_facts(), models=models))


def wslconfig_store(setting: Setting, file: str | None = None) -> WslConfigFile:
    """The `.wslconfig` of this user, or another file."""
    path = setting.wslconfig if file is None else Path(file)
    return WslConfigFile(path, setting.paths.wslconfig_backups, name=file)


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
        from kotaro_bridge.app_models import model_stock

        return model_stock(self.setting.models(), self.bus.publish, self.supervisor.profiles, self._busy_profiles)

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
        from kotaro_bridge.app_diagnostics import diagnostics

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
    # In the background: the tray icon does not wait for wsl.exe.
    product.supervisor.submit(partial(_tell_of_earlier, product))
    product.supervisor.submit(partial(_settle_in, product, chosen.problems))
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
            on_ready=doors.ready,
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

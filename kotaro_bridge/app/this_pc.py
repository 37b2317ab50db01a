"""On which PC everything happens: the real one, or a simulated one, put together from adapters.

Owns what belongs to a PC and nothing else: `product.py` makes the product that runs on it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kotaro_bridge import __version__
from kotaro_bridge.build_info import build_info
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.ports import Launcher
from kotaro_bridge.domain.ports_app import ReleaseSource, StartsAtLogin
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.update import Package
from kotaro_bridge.domain.wsl.wsl_vm import WslVm
from kotaro_bridge.domain.wsl.wslconfig_recommend import HostFacts
from kotaro_bridge.host.autostart import Autostart
from kotaro_bridge.host.history import SqliteSpeedHistory, SqliteStartHistory
from kotaro_bridge.host.host_facts import host_facts
from kotaro_bridge.host.http_engine import HttpEngine
from kotaro_bridge.host.installer_start import is_installed
from kotaro_bridge.host.launcher_local import LocalLauncher
from kotaro_bridge.host.launcher_wsl import WslLauncher
from kotaro_bridge.host.local_port import local_port_free
from kotaro_bridge.host.nvml import NvmlProbe
from kotaro_bridge.host.ollama import HttpOllama, ollama_address
from kotaro_bridge.host.paths import Paths
from kotaro_bridge.host.profile_store import load_profiles
from kotaro_bridge.host.release_feed import ReleaseFeed
from kotaro_bridge.host.win_counters import WindowsCounters
from kotaro_bridge.host.winproc import find_wsl
from kotaro_bridge.host.wsl_vm import WslExeVm
from kotaro_bridge.host.wslconfig_file import WslConfigFile
from kotaro_bridge.own_program import gui_argv
from kotaro_bridge.service.machine import Machine
from kotaro_bridge.service.model_ports import LOCAL
from kotaro_bridge.service.wslconfig_edit import Editor
from kotaro_bridge.service.wslconfig_restart import model_loads, models_seen

if TYPE_CHECKING:
    from kotaro_bridge.service.model_ports import ModelPorts
    from kotaro_bridge.simulator.pc import SimulatedPC


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
        from kotaro_bridge.app.models import real_model_ports

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
    if build is None or not build.feed:
        return None
    package = Package.INSTALLER if is_installed() else Package.PORTABLE
    return ReleaseFeed(build.feed, paths.installers, __version__, package)


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
        from kotaro_bridge.app.models import simulated_model_ports

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

"""The part of the composition root that is about model files. `product.py` loads it when they are first asked for: a
tray that waits does not carry it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.download import DownloadView
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.host.disk import distro_folder, free_beneath
from kotaro_bridge.host.download_memory import DownloadMemoryFile
from kotaro_bridge.host.launcher import TargetLauncher
from kotaro_bridge.host.launcher_local import LocalLauncher
from kotaro_bridge.host.launcher_wsl import WslLauncher
from kotaro_bridge.host.model_files import TargetModels
from kotaro_bridge.host.secrets import HUGGING_FACE, KeyringToken
from kotaro_bridge.host.windows_models import Stores
from kotaro_bridge.service.copies import Copies
from kotaro_bridge.service.downloads import Downloads
from kotaro_bridge.service.model_ports import LOCAL, ModelPorts
from kotaro_bridge.service.model_shelf import Shelf
from kotaro_bridge.service.model_stock import ModelStock

if TYPE_CHECKING:
    from kotaro_bridge.simulator.pc import SimulatedPC


def real_model_ports(wsl: list[str]) -> ModelPorts:
    """Model files of this PC; `wsl` is wsl.exe."""
    windows, on_windows = WslLauncher(wsl, None), sys.platform == "win32"

    def files_of(target: str) -> TargetModels:
        if target != LOCAL:
            return TargetModels(WslLauncher(wsl, target.removeprefix("wsl:") or None))
        if on_windows:
            raise ProblemError(problem("models.local_on_windows"))
        return TargetModels(LocalLauncher())

    return ModelPorts(
        target=files_of,
        stores=Stores(Path.home(), os.environ),
        token=KeyringToken(HUGGING_FACE),
        drive_free=_drive_free,
        installed=windows.installed if on_windows else None,
        running=windows.running if on_windows else None,
    )


def _drive_free(target: str) -> int | None:
    """Bytes free on the drive of a distro's virtual disk."""
    folder = distro_folder(target.removeprefix("wsl:") or None) if target != LOCAL else None
    return free_beneath(folder) if folder is not None else None


def simulated_model_ports(pc: SimulatedPC, scenario: str, launcher: Callable[[str], TargetLauncher]) -> ModelPorts:
    """Model files of a simulated PC; `launcher` starts programs in a target."""
    windows = WslLauncher(pc.wsl_argv, None, pc.env)
    return ModelPorts(
        target=lambda target: TargetModels(launcher(target)),
        stores=Stores(pc.wslconfig_path.parent, {}),
        token=KeyringToken(HUGGING_FACE, scenario),
        drive_free=lambda _: pc.drive_free(),
        installed=windows.installed,
        running=windows.running,
    )


def model_stock(
    ports: ModelPorts,
    publish: Callable[[DownloadView], None],
    profiles: Callable[[], tuple[Profile, ...]],
    busy: Callable[[], Collection[str]],
    unfinished: Path | None,
) -> ModelStock:
    """Everything that works with model files.

    Args:
        unfinished: where downloads that are not done are remembered; None remembers nothing.
        publish: is told of each change of a download or copy.
        busy: ids of profiles whose run does not rest, whoever owns it.
    """

    def client_programs(target: str) -> tuple[str, ...]:
        """vLLM brings the official client along: the programs of its profiles there, and where the README puts it."""
        found = (p for p in profiles() if p.engine is Engine.VLLM and ports.canonical(p.target) == target)
        return tuple(dict.fromkeys((*(profile.executable for profile in found), "~/vllm/bin/vllm")))

    memory = DownloadMemoryFile(unfinished) if unfinished is not None else None
    downloads = Downloads(ports, publish, client_programs, memory=memory)
    shelf = Shelf(ports, profiles, busy, downloads.busy_folders)
    return ModelStock(ports, shelf, downloads, Copies(shelf, publish))

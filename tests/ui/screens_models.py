"""The window of the models for the pictures: each page in its smallest window, as it is at its fullest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QWidget

from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.model.download import DownloadRequest, DownloadState
from kotaro_bridge.domain.planning.catalogue_rank import Use
from kotaro_bridge.domain.units import GIB
from kotaro_bridge.service.model_shelf import OnMachine
from kotaro_bridge.ui.view_models.model_files import key_of
from tests.ui.fake_models import OTHERS, Q14_FILE

if TYPE_CHECKING:
    from kotaro_bridge.ui.shell import Shell
    from tests.ui.fake_desk import FakeWorld

PICTURES = 11


def shoot_models(
    world: FakeWorld, shell: Shell, shoot: Callable[[QWidget, str], None], come_to_rest: Callable[[], None]
) -> None:
    """All states of the window; `come_to_rest` lets answers from the background in."""
    models = world.models
    models.on_machine = OnMachine((), (), ("Ubuntu",))
    models.sight = replace(models.sight, count=2)
    shell.open_models()
    come_to_rest()
    window = shell.models
    assert window is not None
    window.resize(window.minimumSize())
    come_to_rest()
    shoot(window, "models-advice")
    for entry, name in (("qwen2.5-14b-instruct-awq", "over"), ("qwen2.5-14b-instruct-q5_k_m", "closing")):
        window.fit.show_entry(entry)
        shoot(window, f"models-{name}")
    window.tabs.setCurrentIndex(1)
    shoot(window, "models-files-asleep")
    models.on_machine = OnMachine(OTHERS, (), ())
    window.files.look()
    come_to_rest()
    window.files.list.select(key_of(OTHERS[1]))
    shoot(window, "models-files")
    window.files.list.select(key_of(Q14_FILE))
    window.files.remove.click()
    come_to_rest()
    shoot(window, "models-remove")
    window.files.bar.drop()
    window.tabs.setCurrentIndex(2)
    come_to_rest()
    shoot(window, "models-token")
    window.tabs.setCurrentIndex(0)
    window.fit.uses[Use.PARALLEL].click()
    window.fit.show_entry("qwen2.5-7b-instruct-awq")
    request = DownloadRequest("Qwen/Qwen2.5-7B-Instruct-AWQ", "wsl:Ubuntu")
    figures = {"bytes": 2 * GIB, "total": 5 * GIB, "speed": 5.2e7, "eta": 3723.0, "waits_s": 12.0}
    models.move("download-1", DownloadState.WAITING, request=request, **figures)
    come_to_rest()
    shoot(window, "models-downloading")
    gated = problem("download.gated_no_token", id="openbmb/MiniCPM-V-2_6", page="https://huggingface.co/openbmb/x")
    other = DownloadRequest("openbmb/MiniCPM-V-2_6", "wsl:Ubuntu")
    models.move("download-2", DownloadState.FAILED, request=other, problem=gated)
    come_to_rest()
    window.panel.cancelled.emit("download-1")
    shoot(window, "models-cancel")
    window.ask_quit()
    shoot(window, "models-quit")
    window.bar.drop()
    window.fit.field.setText("nonsense")
    window.fit.resolve()
    come_to_rest()
    shoot(window, "models-unresolved")
    for name in tuple(models.views):
        models.pause(name)
        models.drop(name)
    window.close()

"""The window of the models on a simulated PC: the real client, the stand-in of the hub, real files, a keyring."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from kotaro_bridge.app.product import Product, desk_of
from kotaro_bridge.app.this_pc import simulated_setting
from kotaro_bridge.domain.model.download import DownloadState
from kotaro_bridge.simulator.hub import MIB, TOKEN, Hub, HubContent, HubModel
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.shell import Shell
from kotaro_bridge.ui.theme import Theme
from kotaro_bridge.ui.view_models.model_files import key_of
from tests.helpers.own_folders import own_folders
from tests.helpers.simulated import processes_of, until
from tests.ui.models_window import Library

pytestmark = pytest.mark.e2e
CODER = "qwen2.5-coder-7b-instruct-q4_k_m"
SIZE = 12 * MIB
CONFIG = json.dumps(
    {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "num_hidden_layers": 24,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
    }
).encode()


class Simulated(Library):
    """The window of the real product."""

    def __init__(self, product: Product, shell: Shell, qtbot: QtBot, hub: Hub) -> None:
        self.product = product
        self.hub = hub
        super().__init__(product, shell, qtbot)  # type: ignore[arg-type]

    @property
    def state(self) -> DownloadState:
        """Of the only transfer."""
        return self.product.models.transfers()[-1].state


@pytest.fixture
def pc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theme: Theme, qtbot: QtBot
) -> Iterator[Callable[..., Simulated]]:
    """Opens the window on a PC whose distro sleeps, with a hub of the test's own."""
    entry = _coder_files()
    models = (
        HubModel("Qwen/Qwen2.5-Coder-7B-Instruct-GGUF", tuple(HubContent(name, SIZE) for name in entry)),
        HubModel("org/tiny", (HubContent("config.json", len(CONFIG), False, CONFIG),)),
        HubModel("org/closed", (HubContent("config.json", len(CONFIG), False, CONFIG),), gated=True),
    )
    for name, value in own_folders(tmp_path).items():
        monkeypatch.setenv(name, value)
    with Hub(models) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("WSLENV", "HF_ENDPOINT")
        monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "tests.helpers.file_keyring.FileKeyring")
        monkeypatch.setenv("KOTARO_TEST_KEYRING", str(tmp_path / "keyring"))
        with Product(simulated_setting("rtx4070-12gb"), Texts("en")) as product:
            product.own()
            shell = Shell(desk_of(product), theme, tray_visible=False)
            yield lambda: Simulated(product, shell, qtbot, hub)
            shell.close()
            for window in (*shell.editors.windows, shell.models):
                if window is not None:
                    window.deleteLater()
            shell.tray.menu.deleteLater()
    until(lambda: not processes_of(tmp_path), what="everything ends with its PC")
    shutil.rmtree(tmp_path, ignore_errors=True)


def _coder_files() -> tuple[str, ...]:
    from kotaro_bridge.host.catalogue_store import load_catalogue

    return tuple(file.name for entry in load_catalogue() if entry.id == CODER for file in entry.files)


def test_from_the_catalogue_to_a_profile_through_a_cut_and_a_pause(pc: Callable[..., Simulated]) -> None:
    one = pc().looked()
    fit = one.window.fit
    assert not fit.asleep.isHidden(), "the distro sleeps, and is left alone"
    one.hub.trouble.rate = 3 * MIB
    one.hub.trouble.cuts = [2 * MIB]
    one.row(CODER)
    one.click(one.choice("download"))
    one.wait(lambda: bool(one.window.panel.lines))
    line = next(iter(one.window.panel.lines.values()))
    one.qtbot.waitUntil(lambda: one.product.models.transfers()[0].bytes > 3 * MIB, timeout=30_000)
    one.wait(lambda: "MB/s" in line.words.text())
    one.click(line.pause)
    one.wait(lambda: line.resume.isVisible())
    there = one.product.models.transfers()[0].bytes
    assert there >= 3 * MIB
    one.hub.trouble.rate = None
    one.wait(lambda: "Go on" in one.choice("download").text())
    one.click(line.resume)
    one.qtbot.waitUntil(lambda: one.state is DownloadState.DONE, timeout=30_000)
    one.qtbot.waitUntil(lambda: "profile" in fit.details.choices, timeout=30_000)
    one.click(one.choice("profile"))
    one.wait(lambda: bool(one.shell.editors.windows))
    made = one.shell.editors.windows[0].profile
    assert made.model.endswith(_coder_files()[0])
    assert one.hub.sent < 2 * SIZE + 6 * MIB, "what was there is not fetched again"


def test_cancelled_and_deleted_nothing_is_left(pc: Callable[..., Simulated]) -> None:
    one = pc().looked()
    one.hub.trouble.rate = 3 * MIB
    one.row(CODER)
    one.click(one.choice("download"))
    one.qtbot.waitUntil(
        lambda: bool(one.product.models.transfers()) and one.product.models.transfers()[0].bytes > MIB, timeout=30_000
    )
    one.wait(lambda: bool(one.window.panel.lines))
    one.click(next(iter(one.window.panel.lines.values())).cancel)
    one.click(one.window.bar.answers[0])
    one.qtbot.waitUntil(lambda: one.window.bar.about in ("cancelled", "failed"), timeout=30_000)
    assert one.window.bar.about == "cancelled", one.window.bar.what.text()
    models = Path(one.product.models.files(start=True).models[0].root)
    assert not [path for path in models.rglob("*") if "coder" in path.name.lower()]


def test_any_id_of_the_hub_is_planned_and_a_closed_one_explained(pc: Callable[..., Simulated]) -> None:
    one = pc().looked()
    fit = one.window.fit
    QTest.keyClicks(fit.field, "org/tiny")
    one.press(Qt.Key.Key_Return, fit.field)
    one.wait(lambda: fit.list.current() == "org/tiny")
    assert "It fits" in one.said(fit.details)
    for name, words in (("org/closed", "no token is kept"), ("org/nobody", "no model org/nobody")):
        fit.field.setText(name)
        one.click(fit.look_up)
        one.wait(lambda words=words: words in fit.said.text())  # type: ignore[misc]
    one.tab(2)
    token = one.window.token
    one.wait(lambda: token.state.text() == "No token is kept.")
    QTest.keyClicks(token.field, TOKEN)
    one.click(token.keep)
    one.wait(token.forget.isEnabled)
    one.tab(0)
    fit.field.setText("org/closed")
    one.click(fit.look_up)
    one.wait(lambda: fit.list.current() == "org/closed")


def test_a_file_is_deleted_for_good(pc: Callable[..., Simulated]) -> None:
    one = pc().looked()
    one.tab(1)
    page = one.window.files
    one.click(page.asleep.answers[0])
    one.wait(lambda: page.list.count() > 0)
    found = {model.id: model for model in page._models.values()}
    model = found["~/models/Qwen2.5-32B-Instruct-Q4_K_M.gguf"]
    one.row(key_of(model), page.list)
    one.click(page.remove)
    one.wait(lambda: page.bar.about == "remove")
    assert "qwen2.5-32b-q4_k_m" in page.bar.do.text()
    one.click(page.bar.answers[0])
    one.wait(lambda: page.bar.about == "removed" and not page.looking)
    assert not (Path(model.root) / "Qwen2.5-32B-Instruct-Q4_K_M.gguf").exists()

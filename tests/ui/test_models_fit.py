"""The page "What fits": ranking, filters, the plan with its slider, advice, and any other model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.model.download import DownloadRequest, DownloadState
from kotaro_bridge.domain.model.model_files import Condition
from kotaro_bridge.domain.planning.catalogue_rank import Use
from kotaro_bridge.domain.units import GIB, MIB
from kotaro_bridge.service.model_shelf import OnMachine
from kotaro_bridge.ui.dialogs.models_fit import ADVICE
from kotaro_bridge.ui.widgets.vram_gauge import PLAN
from tests.ui.conftest import Opener
from tests.ui.fake_models import CARD, OTHERS, stored
from tests.ui.models_window import Library

Q14 = "qwen2.5-14b-instruct-q4_k_m"
A14 = "qwen2.5-14b-instruct-awq"
A7 = "qwen2.5-7b-instruct-awq"
Open = Callable[..., Library]


@pytest.fixture
def library(opened: Opener, qtbot: QtBot) -> Open:
    """Opens the window; `set_up` changes the world before."""

    def make(set_up: Callable[..., None] = lambda _: None, **world: object) -> Library:
        made, shell = opened(**world)
        set_up(made.models)
        return Library(made, shell, qtbot).looked()

    return make


def test_the_best_for_the_card_first_and_the_advice_at_the_top(library: Open) -> None:
    one = library()
    assert one.ids()[:2] == [ADVICE, Q14]
    said = one.said(one.window.fit.details)
    assert "Suggested engine: llama-server" in said
    assert "Qwen2.5 14B Instruct AWQ with 8192 tokens is often suggested for 12 GB cards" in said
    assert "RTX 4070: 10.7 GiB of 11.8 GiB free" in one.window.card.text()
    assert "qwen3:8b" in one.window.closable.text()
    one.click(one.window.fit.details.offers[0])
    assert one.window.fit.list.current() == Q14


def test_a_plan_names_each_part_and_where_it_comes_from(library: Open) -> None:
    one = library()
    one.row(Q14)
    plan = one.window.fit.details.plan
    assert plan is not None
    said = one.said(plan)
    for words in ("It fits: 345 MiB", "9,984 tokens", "8,148 MiB", "1,536 MiB", "from the model's files", "128 MiB"):
        assert words in said
    assert plan.slider.accessibleName()
    assert "Weights 8,148 MiB" in plan.bar.accessibleName()
    assert "Apache License 2.0" in one.said(one.window.fit.details)


@pytest.mark.parametrize("entry", [Q14, A14])
def test_a_plan_has_its_place_when_it_first_shows(library: Open, entry: str) -> None:
    fit = library().window.fit
    fit.show_entry(entry)
    QApplication.processEvents()
    plan = fit.details.plan
    assert plan is not None
    cells = [cell for line in plan.table.cells for cell in line]
    assert [cell.text() for cell in cells if cell.height() < cell.minimumSizeHint().height()] == []


def test_the_rows_of_a_vllm_plan_add_up(library: Open) -> None:
    one = library()
    for model, fits in ((A7, True), (A14, False)):
        one.row(model)
        plan = one.window.fit.details.plan
        assert plan is not None
        shown = [[cell.text() for cell in cells] for cells in plan.table.cells]
        sizes = {name: int(size.removesuffix(" MiB").replace(",", "")) for name, size, _ in shown}
        held = sizes["Total"] + sizes["Set aside by vLLM"] + sizes["Kept free"]
        missing = 0 if fits else sizes["Missing"]
        assert held == pytest.approx(sizes["Free now"] + missing, abs=2)
        assert ("Left for more KV cache" in sizes) is fits
        drawn = dict((kind, share) for share, kind in plan.bar._parts)
        whole = sizes["Total"] / sum(drawn[kind] for kind in PLAN)
        assert drawn["aside"] * whole == pytest.approx(sizes["Set aside by vLLM"], rel=0.02)
        assert ("left for more KV cache" in plan.answer.text()) is fits
    one.row(Q14)
    of_llama = one.window.fit.details.plan
    assert of_llama is not None
    names = [cells[0].text() for cells in of_llama.table.cells]
    assert len(names) == 8
    assert "Set aside by vLLM" not in names
    assert "aside" not in [kind for _, kind in of_llama.bar._parts]


def test_the_plan_follows_the_slider_within_a_frame(library: Open) -> None:
    one = library()
    one.row(Q14)
    plan = one.window.fit.details.plan
    assert plan is not None
    plan.slider.setFocus()
    one.press(Qt.Key.Key_PageUp)
    assert plan.context == 8192 + 8 * 256
    assert "missing" in plan.answer.text()
    assert "msedge.exe (268 MiB)" in plan.answer.text() or "qwen3:8b (640 MiB)" in plan.answer.text()
    assert "Up to 9,984 tokens would fit" in plan.more.text()
    began = time.perf_counter()
    for value in range(1, 101):
        plan.slider.setValue(value)
    assert (time.perf_counter() - began) / 100 < 0.016
    one.press(Qt.Key.Key_Home)
    assert plan.context == 256


def test_a_common_recommendation_is_corrected_with_what_fits(library: Open) -> None:
    one = library()
    one.row(A14)
    details = one.window.fit.details
    said = one.said(details)
    assert "On this one it does not work out" in said
    assert "What does fit, the same model: Qwen2.5 14B Instruct Q4_K_M" in said
    assert "It does not fit this card" in said
    assert one.choice("download").property("kind") != "primary"
    one.click(details.offers[0])
    assert one.window.fit.list.current() == Q14


def test_filters_by_use_engine_and_words(library: Open) -> None:
    one = library()
    fit = one.window.fit
    one.click(fit.uses[Use.IMAGES])
    assert {each.partition("-2.6")[0] for each in one.ids()[1:]} == {"minicpm-v"}
    one.click(fit.uses[Use.PARALLEL])
    one.row(A7)
    assert fit.details.plan is not None
    assert "4 requests at once" in one.said(fit.details.plan)
    one.click(fit.uses[Use.GAMES])
    assert Q14 in one.ids()
    one.click(fit.uses[Use.ONE])
    fit.engine.setFocus()
    one.press(Qt.Key.Key_Down)
    assert all("awq" in each or "gptq" in each or "fp16" in each for each in one.ids()[1:])
    one.press(Qt.Key.Key_Home)
    QTest.keyClick(one.window, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClicks(fit.search, "coder 7b awq")
    one.wait(lambda: one.ids() == [ADVICE, "qwen2.5-coder-7b-instruct-awq"])
    QTest.keyClicks(fit.search, "zzz")
    one.wait(lambda: one.ids() == [ADVICE])
    one.press(Qt.Key.Key_Escape, one.window)
    one.wait(lambda: len(one.ids()) == 48)
    assert one.window.isVisible()


def test_any_model_is_looked_up_without_the_window_waiting(library: Open) -> None:
    one = library()
    fit = one.window.fit
    one.models.hold.clear()
    QTest.keyClicks(fit.field, "org/Wonder-7B-AWQ")
    one.press(Qt.Key.Key_Return, fit.field)
    assert "org/Wonder-7B-AWQ" in fit.said.text()
    assert not fit.look_up.isEnabled()
    one.models.hold.set()
    one.wait(lambda: fit.list.current() == "org/Wonder-7B-AWQ")
    said = one.said(fit.details)
    assert "It fits" in said
    assert "Weights" in said
    assert "see the model's page" in said
    one.click(one.choice("download"))
    one.wait(lambda: bool(one.models.views))
    assert one.models.asked[-1] == ("download", DownloadRequest("org/Wonder-7B-AWQ", "wsl:"))
    fit.field.setText("nonsense")
    one.click(fit.look_up)
    one.wait(lambda: "There is no file or folder nonsense" in fit.said.text())
    assert fit.said.property("tone") == "bad"


def test_what_is_here_is_marked_and_becomes_a_profile(library: Open) -> None:
    one = library(lambda models: setattr(models, "on_machine", OnMachine(OTHERS, (), ())))
    fit = one.window.fit
    one.row(Q14)
    assert "Ubuntu ~/models/Qwen2.5-14B-Instruct-Q4_K_M.gguf (here)" in one.said(fit.details)
    assert "download" not in fit.details.choices
    assert fit.details.plan is not None
    fit.details.plan.slider.setValue(16)
    one.click(one.choice("profile"))
    one.wait(lambda: bool(one.shell.editors.windows))
    made = one.shell.editors.windows[0].profile
    assert (made.model, made.context, made.engine.value) == (
        "~/models/Qwen2.5-14B-Instruct-Q4_K_M.gguf",
        4096,
        "llama-server",
    )
    assert made.target == "wsl:Ubuntu"


def test_a_download_that_was_begun_goes_on(library: Open) -> None:
    half = stored("~/models/Qwen2.5-7B-Instruct-AWQ", GIB, Condition.PARTIAL)
    one = library(lambda models: setattr(models, "on_machine", OnMachine((half,), (), ())))
    one.row(A7)
    assert one.choice("download").text() == "Go on with the download (5.2 GiB in all)"
    one.click(one.choice("download"))
    one.wait(lambda: one.choice("download").text() == "Downloading …")
    assert not one.choice("download").isEnabled()
    one.models.move("download-1", DownloadState.PAUSED, bytes=GIB)
    one.wait(lambda: one.choice("download").isEnabled())
    assert "Go on" in one.choice("download").text()


def test_the_card_is_looked_at_again_when_its_memory_changes(library: Open) -> None:
    one = library()
    one.row(Q14)
    one.world.telemetry.fill(2, "someone", 4000)
    one.models.sight = replace(one.models.sight, now=replace(one.models.sight.now, card=replace(CARD, free=6000 * MIB)))
    one.world.telemetry.tick()
    one.wait(lambda: "5.9 GiB of 11.8 GiB free" in one.window.card.text())
    assert one.window.fit.list.current() == Q14
    assert "fit" in one.said(one.window.fit.details)


def test_without_a_card_it_says_why_and_tries_again(library: Open, opened: Opener, qtbot: QtBot) -> None:
    made, shell = opened()
    made.models.error = problem("gpu.no_driver", detail="NVML Shared Library Not Found")
    one = Library(made, shell, qtbot)
    one.wait(lambda: "again" in one.window.fit.details.choices)
    assert "driver" in one.said(one.window.fit.details)
    assert one.ids() == []
    made.models.error = None
    one.click(one.choice("again"))
    one.wait(lambda: ADVICE in one.ids())
    assert made.models.asked[-1][0] == "card"


def test_two_cards_are_chosen_from(library: Open) -> None:
    one = library(lambda models: setattr(models, "sight", replace(models.sight, count=2)))
    one.window.cards.setFocus()
    one.press(Qt.Key.Key_Down)
    one.wait(lambda: ("card", 1) in one.models.asked)


def test_a_window_of_a_newcomer_leads_here(opened: Opener, qtbot: QtBot) -> None:
    _, shell = opened(window=True, profiles=())
    assert shell.window is not None
    assert shell.window.empty is not None
    find = next(each for each in shell.window.empty.findChildren(type(shell.window.settings_button)))
    QTest.mouseClick(find, Qt.MouseButton.LeftButton)
    assert shell.models is not None
    qtbot.waitUntil(shell.models.isVisible)

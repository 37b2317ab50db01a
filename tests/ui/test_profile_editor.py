"""The profile editor: fields, the plan that follows them, the command, forbidden arguments, and the model picker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QStyle, QStyleOptionSlider
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.run.run_state import Phase
from tests.ui.conftest import Opener
from tests.ui.editor_window import LEFT, Editing
from tests.ui.fake_desk import A14, CARD, Q14, gate
from tests.ui.fake_profiles import FakeProfiles, planned


@pytest.fixture
def edit(opened: Opener, qtbot: QtBot) -> Callable[..., Editing]:
    return lambda profile_id=Q14.id, prepare=lambda _: None, **world: Editing(
        opened, qtbot, profile_id, prepare, **world
    )


def test_it_opens_from_the_list_by_button_menu_and_keyboard(opened: Opener, qtbot: QtBot) -> None:
    _, shell = opened(window=True)
    assert shell.window is not None
    shell.window.models.select(A14.id)
    QTest.mouseClick(shell.window.profile_buttons["edit"], LEFT)
    qtbot.waitUntil(lambda: len(shell.editors.windows) == 1)
    assert shell.editors.windows[0].profile.id == A14.id
    shell.window.models.menu_wanted.emit(A14.id, QPoint(5, 5))
    assert [action.objectName() for action in shell.window.menu.actions()] == [
        "edit",
        "copy",
        "export",
        "delete",
        "import",
    ]
    shell.window.menu.actions()[1].trigger()
    qtbot.waitUntil(lambda: len(shell.editors.windows) == 2)
    copy = shell.editors.windows[1]
    assert (copy.stored, copy.profile.title, copy.profile.model) == (False, "Qwen2.5 14B AWQ (copy)", A14.model)


def test_a_profile_has_one_editor(edit: Callable[..., Editing]) -> None:
    one = edit()
    one.shell.editors.edit(Q14.id)
    assert len(one.shell.editors.windows) == 1


def test_what_it_takes_is_said_at_once_and_follows_the_slider(edit: Callable[..., Editing], qtbot: QtBot) -> None:
    one = edit()
    window, panel = one.window, one.window.plans.panel
    assert "It fits" in panel.verdict.text()
    assert panel.verdict.property("tone") == "good"
    before = [cells[1].text() for cells in panel.table.cells]
    slider = window.fields.context.slider
    option = QStyleOptionSlider()
    slider.initStyleOption(option)
    style = slider.style()
    part = QStyle.SubControl.SC_SliderHandle
    handle = style.subControlRect(QStyle.ComplexControl.CC_Slider, option, part, slider).center()
    asked = len(one.profiles.asked)
    QTest.mousePress(slider, LEFT, pos=handle)
    seen = []
    for step in range(1, 6):
        QTest.mouseMove(slider, handle + QPoint(step * 20, 0))
        assert slider.isSliderDown()
        seen.append(panel.table.cells[1][1].text())
    assert len(set(seen)) == 5, "the KV cache grows with every step"
    QTest.mouseRelease(slider, LEFT, pos=handle + QPoint(100, 0))
    assert "It does not fit" in panel.verdict.text()
    assert panel.verdict.property("tone") == "bad"
    assert panel.table.cells[0][1].text() == before[0], "the weights stay"
    assert int(one.text("context")) == slider.value() * 256
    assert len(one.profiles.asked) == asked, "the model is not read again"
    assert window.unsaved
    one.click(panel.longest)
    assert "It fits" in panel.verdict.text()
    assert one.text("context") == "9984"


def test_every_figure_names_its_origin(edit: Callable[..., Editing]) -> None:
    panel = edit().window.plans.panel
    tips = [cells[1].toolTip() for cells in panel.table.cells]
    assert "from the model's files" in tips[0]
    assert "grows with context" in tips[1]
    assert "other cards" in tips[3]
    assert panel._bars[0][1].accessibleName().startswith("NVIDIA GeForce RTX 4070: 12.0 GiB: Weights 8,148 MiB")


def test_keys_move_the_slider_and_plan_too(edit: Callable[..., Editing]) -> None:
    one = edit()
    slider = one.window.fields.context.slider
    slider.setFocus()
    QTest.keyClick(slider, Qt.Key.Key_Right)
    assert one.text("context") == "8448"
    QTest.keyClick(slider, Qt.Key.Key_PageUp)
    assert one.text("context") == "10496"
    assert "It does not fit" in one.window.plans.panel.verdict.text()


def test_the_command_is_shown_and_copied(edit: Callable[..., Editing]) -> None:
    one = edit()
    one.type("context", "4096")
    command = one.window.plans.command.field.toPlainText()
    assert command.startswith("~/llama.cpp/llama-server -m ~/models/qwen2.5-14b-q4.gguf --device CUDA0")
    assert "-c 4096 -np 1" in command
    QTest.mouseClick(one.window.plans.command.copy, LEFT)
    assert QGuiApplication.clipboard().text() == command


def test_forbidden_arguments_are_marked_as_typed_with_their_reason(edit: Callable[..., Editing]) -> None:
    one = edit()
    QTest.mouseClick(one.window.fields.more, LEFT)
    one.type("extra_args", "--temp 0.7 -ngl 20 --nonsense")
    assert "chooses how many layers go to the GPU" in one.wrong("extra_args")
    assert "--nonsense" in one.wrong("extra_args")
    block = one.window.fields.arguments.field.document().firstBlock()
    marked = [block.text()[each.start : each.start + each.length] for each in block.layout().formats()]
    assert marked == ["-ngl", "--nonsense"]
    assert not one.window.save_button.isEnabled()
    assert one.window.plans.command.field.toPlainText() == ""
    before = one.file().read_bytes()
    QTest.keyClick(one.window, Qt.Key.Key_S, Qt.KeyboardModifier.ControlModifier)
    assert one.file().read_bytes() == before
    one.type("extra_args", "--temp 0.7")
    assert one.wrong("extra_args") == ""
    assert one.window.save_button.isEnabled()


def test_every_mistake_stands_beside_its_field(edit: Callable[..., Editing]) -> None:
    one = edit(A14.id)
    QTest.mouseClick(one.window.fields.more, LEFT)
    typed = {"title": "", "context": "12", "port": "abc", "vllm.max_num_seqs": "0", "parallel": "999"}
    for key, text in typed.items():
        one.type(key, text)
    assert {key: one.wrong(key) for key in typed} == {
        "title": "This must not be empty. Type a value.",
        "context": "The least is 256. Type a larger number.",
        "port": "This is no number. Type digits only.",
        "vllm.max_num_seqs": "The least is 1. Type a larger number.",
        "parallel": "The most is 256. Type a smaller number.",
    }
    assert one.window.state.text() == "5 to correct"
    assert one.window.fields.rows["port"].input.stops[0].accessibleDescription().startswith("This is no number")


def test_a_new_one_complains_only_once_it_is_to_be_saved(edit: Callable[..., Editing]) -> None:
    one = edit(None)
    assert all(one.wrong(key) == "" for key in one.window.fields.rows)
    assert "Choose a model" in one.window.plans.panel.verdict.text()
    QTest.mouseClick(one.window.save_button, LEFT)
    assert one.wrong("title")
    assert one.wrong("model")
    assert one.window.focusWidget() is one.window.fields.rows["title"].input.stops[0]


def test_the_other_engine_brings_its_own_defaults_and_fields(edit: Callable[..., Editing]) -> None:
    one = edit(None)
    engine = one.window.fields.engine.field
    engine.setFocus()
    QTest.keyClick(engine, Qt.Key.Key_Down)
    assert one.text("engine") == "vllm"
    assert (one.text("executable"), one.text("port")) == ("~/vllm/bin/vllm", "8000")
    rows = one.window.fields.rows
    assert not rows["projector"].isVisibleTo(one.window)
    QTest.mouseClick(one.window.fields.more, LEFT)
    assert rows["vllm.images"].isVisibleTo(one.window)
    QTest.keyClick(engine, Qt.Key.Key_Up)
    assert (one.text("executable"), one.text("port")) == ("~/llama.cpp/build/bin/llama-server", "8080")


def test_vllm_says_its_share_and_how_many_requests_it_serves(edit: Callable[..., Editing]) -> None:
    one = edit(A14.id, lambda p: p.models.update({A14.model: planned("qwen2.5-7b-instruct-awq")}))
    facts = one.window.plans.panel.facts.text()
    assert "utilization 0." in facts
    assert "requests of full length at once" in facts
    assert "--gpu-memory-utilization" in one.window.plans.command.field.toPlainText()


def test_until_the_model_is_read_nothing_is_known_and_nothing_waits(edit: Callable[..., Editing], qtbot: QtBot) -> None:
    one = edit(prepare=lambda p: p.hold.clear())
    assert one.window.plans.panel.verdict.text() == "Reading the model…"
    one.type("context", "4096")
    assert one.text("context") == "4096"
    one.profiles.hold.set()
    qtbot.waitUntil(lambda: "It fits" in one.window.plans.panel.verdict.text())


def test_a_distro_that_is_off_is_started_only_if_that_is_asked_for(edit: Callable[..., Editing], qtbot: QtBot) -> None:
    def prepare(profiles: FakeProfiles) -> None:
        profiles.asleep = True

    one = edit(prepare=prepare)
    panel = one.window.plans.panel
    assert panel.verdict.text() == "WSL is not running, so the model was not read."
    assert one.profiles.asked == [(Q14.model, False)]
    one.click(panel.read)
    qtbot.waitUntil(lambda: "It fits" in panel.verdict.text())
    assert one.profiles.asked[-1] == (Q14.model, True)
    assert not panel.read.isVisibleTo(one.window)


def test_a_model_that_cannot_be_read_says_why_and_the_catalogue_helps(edit: Callable[..., Editing]) -> None:
    def prepare(profiles: FakeProfiles) -> None:
        profiles.unread = problem("model.missing", path="~/models/x.gguf")

    one = edit(prepare=prepare)
    assert "What it takes is not known" in one.window.plans.panel.verdict.text()

    def known(profiles: FakeProfiles) -> None:
        prepare(profiles)
        profiles.models[Q14.model] = planned("qwen2.5-14b-instruct-q4_k_m")

    other = edit(prepare=known)
    panel = other.window.plans.panel
    assert "It fits" in panel.verdict.text()
    assert "figures of the catalogue" in panel.origin.text()


def test_typing_a_model_reads_it_once_the_typing_pauses(edit: Callable[..., Editing]) -> None:
    one = edit()
    one.type("model", "~/models/other.gguf")
    assert len(one.profiles.asked) == 1
    one.settled()
    assert [name for name, _ in one.profiles.asked] == [Q14.model, "~/models/other.gguf"]


def test_several_cards_have_a_box_and_a_bar_each(edit: Callable[..., Editing]) -> None:
    one = edit()
    samples = one.world.telemetry.samples
    cards = (CARD, replace(CARD, index=1, uuid="GPU-2", name="NVIDIA GeForce RTX 3060"))
    samples.append(replace(samples[-1], gpus=cards))
    one.world.telemetry.tick()
    one.qtbot.waitUntil(lambda: len(one.window.fields.cards.boxes) == 2)
    assert "(split)" in one.window.fields.rows["gpus"].hint.text()
    box = one.window.fields.cards.boxes[1]
    box.setFocus()
    QTest.keyClick(box, Qt.Key.Key_Space)
    assert one.text("gpus") == "0,1"
    assert len(one.window.plans.panel._bars) == 2
    assert "-sm layer -ts" in one.window.plans.command.field.toPlainText()
    for each in one.window.fields.cards.boxes.values():
        each.click()
    assert one.wrong("gpus") == "This must not be empty. Type a value."


def test_without_a_card_it_says_what_it_takes_and_not_whether_it_fits(opened: Opener, qtbot: QtBot) -> None:
    one = Editing(opened, qtbot)
    one.world.telemetry.samples.append(replace(one.world.telemetry.samples[-1], gpus=()))
    one.world.telemetry.tick()
    qtbot.waitUntil(lambda: "does not answer" in one.window.plans.panel.verdict.text())
    assert one.window.plans.panel._bars == []


def test_what_its_own_run_holds_is_free_for_it(edit: Callable[..., Editing]) -> None:
    one = edit()
    one.world.supervisor.move(Q14.id, Phase.READY)
    one.world.telemetry.fill(1, Q14.id, 10405)
    one.world.telemetry.tick()
    QApplication.processEvents()
    assert "It fits" in one.window.plans.panel.verdict.text()


def test_a_model_is_chosen_from_the_catalogue_with_the_keyboard_alone(edit: Callable[..., Editing]) -> None:
    one = edit(None)
    one.window.fields.model.choose.setFocus()
    QTest.keyClick(one.window.fields.model.choose, Qt.Key.Key_Space)
    picker = one.window.picker
    one.qtbot.waitUntil(lambda: picker.list.count() > 5)
    QTest.keyClicks(picker.search, "coder 7b q8")
    names = [picker.list.item(row).text().partition("\n")[0] for row in range(1, picker.list.count())]
    assert names == ["Qwen2.5 Coder 7B Instruct Q8_0"]
    picker.list.setFocus()
    QTest.keyClick(picker.list, Qt.Key.Key_Return)
    one.settled()
    assert one.text("title") == "Qwen2.5 Coder 7B Instruct Q8_0"
    assert "q8_0" in one.text("model")
    assert one.text("context") == "8192"
    assert one.text("served_name") == "qwen2.5-coder-7b-instruct"
    assert one.wrong("model") == ""


def test_choosing_for_a_stored_profile_keeps_its_name_and_context(edit: Callable[..., Editing]) -> None:
    one = edit()
    one.type("context", "2048")
    one.click(one.window.fields.model.choose)
    picker = one.window.picker
    one.qtbot.waitUntil(lambda: picker.use.isEnabled())
    QTest.mouseClick(picker.use, LEFT)
    one.settled()
    assert (one.text("title"), one.text("context")) == (Q14.title, "2048")
    assert one.text("model") != Q14.model


def test_tab_goes_through_the_fields_in_their_order(edit: Callable[..., Editing]) -> None:
    one = edit()
    rows = one.window.fields.rows
    rows["title"].input.stops[0].setFocus()
    seen = []
    for _ in range(9):
        seen.append(one.window.focusWidget())
        QTest.keyClick(one.window.focusWidget(), Qt.Key.Key_Tab)
    wanted = [
        stop
        for key in ("title", "engine", "model", "projector", "context", "parallel", "kv_type")
        for stop in rows[key].input.stops
    ]
    assert seen == wanted[:9]


def test_every_input_has_a_name_for_screen_readers(edit: Callable[..., Editing]) -> None:
    one = edit()
    missing = [
        key
        for key, row in one.window.fields.rows.items()
        for stop in row.input.stops
        if not stop.accessibleName() and not getattr(stop, "text", str)()
    ]
    assert missing == []
    assert one.window.fields.model.choose.accessibleName() == "Choose: Model"


def test_the_block_dialog_leads_here_where_a_change_would_help(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.supervisor.refuse(Q14.id, gate(21500))
    qtbot.waitUntil(lambda: Q14.id in shell.dialogs)
    dialog = shell.dialogs[Q14.id]
    assert dialog.edit.isVisibleTo(dialog)
    QTest.mouseClick(dialog.edit, LEFT)
    qtbot.waitUntil(lambda: len(shell.editors.windows) == 1)
    world.supervisor.move(A14.id, Phase.REFUSED, problem=problem("driver.missing"))
    qtbot.waitUntil(lambda: A14.id in shell.dialogs)
    assert not shell.dialogs[A14.id].edit.isVisibleTo(shell.dialogs[A14.id])

"""The settings dialog: fields, findings and the text view on the real editor and a real file."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.wsl.wslconfig_catalogue import MAIN_KEYS
from kotaro_bridge.domain.wsl.wslconfig_keys import KEY_TYPES
from kotaro_bridge.texts import LANGUAGES, Texts
from kotaro_bridge.ui.view_models.wslconfig import search, search_texts, split_size, value_words
from kotaro_bridge.ui.view_models.wslconfig_text import shown
from kotaro_bridge.ui.widgets.setting_inputs import SizeInput, SwitchInput, TextInput
from tests.ui.conftest import Opener
from tests.ui.settings_dialog import USUAL, Settings


@pytest.fixture
def settings(opened: Opener, qtbot: QtBot, tmp_path: Path) -> Settings:
    """The dialog on a usual file with two mistakes."""
    return Settings(opened, qtbot, tmp_path)


def editor_text(settings: Settings) -> str:
    return settings.dialog.edit._editor.text


def test_the_main_settings_come_first_and_the_others_when_wanted(settings: Settings) -> None:
    form = settings.dialog.edit.form
    assert form.visible_keys() == list(MAIN_KEYS)
    assert set(form.rows) == set(MAIN_KEYS)
    settings.click(form.fold)
    assert set(form.visible_keys()) == set(KEY_TYPES) == set(form.rows)
    settings.click(form.fold)
    assert form.visible_keys() == list(MAIN_KEYS)


def test_fields_show_what_the_file_says(settings: Settings) -> None:
    memory = settings.row("wsl2.memory").input
    assert isinstance(memory, SizeInput)
    assert (memory.field.text(), memory.unit.currentText()) == ("8", "GB")
    swap = settings.row("wsl2.swap").input
    assert isinstance(swap, SizeInput)
    assert (swap.field.text(), swap.field.placeholderText()) == ("", "2")
    forwarding = settings.row("wsl2.localhostForwarding").input
    assert isinstance(forwarding, SwitchInput)
    assert forwarding.text() == ""
    assert forwarding.buttons[""].text() == "Default (on)"


def test_typing_stages_a_value_and_leaves_the_rest_alone(settings: Settings) -> None:
    settings.type("wsl2.memory", "24")
    assert editor_text(settings) == USUAL.decode().replace("8GB", "24GB", 1)
    assert settings.row("wsl2.memory").state.text() == "changed"
    assert settings.dialog.state.text() == "Not saved: 1"
    assert settings.data == USUAL


def test_a_pause_in_typing_counts_as_typed(settings: Settings, qtbot: QtBot) -> None:
    row = settings.row("wsl2.processors")
    assert isinstance(row.input, TextInput)
    QTest.keyClicks(row.input.field, "12")
    qtbot.waitUntil(lambda: "processors=12" in editor_text(settings))


def test_undo_goes_back_to_the_file_and_reset_to_the_default(settings: Settings) -> None:
    row = settings.type("wsl2.memory", "24")
    settings.click(row.undo)
    assert editor_text(settings) == USUAL.decode()
    assert row.undo.isHidden()
    settings.click(row.reset)
    assert "memory" not in editor_text(settings)
    assert row.input.text() == ""
    assert not settings.dialog.save_button.isHidden()
    settings.click(row.undo)
    assert editor_text(settings) == USUAL.decode()
    assert row.input.text() == "8GB"


def test_a_line_that_wsl_refuses_can_be_reset_and_undo_brings_it_back(settings: Settings) -> None:
    row = settings.row("wsl2.swap")
    settings.click(row.reset)
    assert "swap" not in editor_text(settings)
    assert row.reset.isHidden()
    settings.type("wsl2.swap", "4")
    settings.click(row.undo)
    assert editor_text(settings) == USUAL.decode()


def test_an_empty_field_is_the_default(settings: Settings) -> None:
    settings.type("wsl2.memory", "")
    assert "memory" not in editor_text(settings)


def test_another_unit_is_another_value(settings: Settings) -> None:
    part = settings.row("wsl2.memory").input
    assert isinstance(part, SizeInput)
    settings.press(part.unit, Qt.Key.Key_Down)
    assert "memory=8MB " in editor_text(settings)
    assert "less than WSL allows" in " ".join(each.what for each in settings.row("wsl2.memory").findings)


def test_what_was_typed_stays_as_it_was_typed(settings: Settings) -> None:
    part = settings.row("wsl2.swap").input
    assert isinstance(part, SizeInput)
    part.unit.setCurrentText("MB")
    settings.type("wsl2.swap", "1024")
    assert "swap=1GB" in editor_text(settings)
    assert (part.field.text(), part.unit.currentText()) == ("1024", "MB")


def test_what_wsl_would_not_take_is_said_beside_the_field_and_not_saved(settings: Settings) -> None:
    row = settings.type("wsl2.processors", "twelve")
    assert "'twelve'" in row.findings[0].what
    assert row.findings[0].glyph == "failed"
    assert editor_text(settings) == USUAL.decode()
    settings.type("wsl2.memory", "24")
    settings.click(settings.dialog.save_button)
    assert settings.on_edit
    assert QApplication.focusWidget() is row.input.focusProxy()
    settings.click(row.undo)
    assert row.findings == ()
    assert row.input.text() == ""
    settings.click(settings.dialog.save_button)
    assert not settings.on_edit


def test_a_unit_of_ones_own_is_taken_or_corrected(settings: Settings) -> None:
    assert "Write 16GB" in settings.type("wsl2.memory", "16gb").findings[0].do
    settings.type("wsl2.memory", "16GB")
    assert "memory=16GB " in editor_text(settings)


def test_the_recommended_value_is_one_click_away_with_its_reason(settings: Settings) -> None:
    row = settings.row("wsl2.memory")
    assert row.recommended.text() == "Recommended: 24 GB"
    assert "Of 32 GB, Windows keeps 8" in row.reason.text()
    settings.click(row.use)
    assert "memory=24GB # enough\r\n" in editor_text(settings)
    assert not row.use.isVisibleTo(settings.dialog)


def test_a_default_that_follows_another_setting_is_shown_as_it_is_then(settings: Settings) -> None:
    swap = settings.row("wsl2.swap")
    assert isinstance(swap.input, SizeInput)
    settings.click(settings.row("wsl2.memory").use)
    assert swap.input.field.placeholderText() == "6"
    assert "on this PC 6 GB" in swap.default.text()


def test_switches_and_choices_have_a_default_too(settings: Settings) -> None:
    settings.switch("wsl2.guiApplications", "false")
    settings.choose("wsl2.networkingMode", "Mirrored")
    assert "guiApplications=false\r\n" in editor_text(settings)
    assert "networkingMode=Mirrored\r\n" in editor_text(settings)
    settings.switch("wsl2.guiApplications", "")
    settings.choose("wsl2.networkingMode", "")
    assert editor_text(settings) == USUAL.decode()


def test_paths_are_typed_as_they_are(settings: Settings) -> None:
    settings.type("wsl2.swapFile", "D:\\wsl\\swap.vhdx")
    assert "swapFile=D:\\\\wsl\\\\swap.vhdx\r\n" in editor_text(settings)
    assert settings.row("wsl2.swapFile").input.text() == "D:\\wsl\\swap.vhdx"


@pytest.mark.parametrize("words", ["swapfile", "Place SWAP", "スワップ 場所", "doubled"])
def test_search_finds_labels_names_and_explanations_in_both_languages(settings: Settings, words: str) -> None:
    settings.press(settings.dialog, Qt.Key.Key_F, control=True)
    search_field = settings.dialog.edit.search
    assert QApplication.focusWidget() is search_field
    search_field.setText(words)
    found = settings.dialog.edit.form.visible_keys()
    assert "wsl2.swapFile" in found
    assert len(found) < 5
    settings.press(search_field, Qt.Key.Key_Return)
    assert QApplication.focusWidget() is settings.dialog.edit.form.rows[found[0]].input.focusProxy()


def test_a_search_without_a_hit_says_so_and_esc_ends_it(settings: Settings) -> None:
    edit = settings.dialog.edit
    edit.start_search()
    QTest.keyClicks(edit.search, "zebra")
    assert edit.form.visible_keys() == []
    assert edit.form.nothing.isVisibleTo(settings.dialog)
    settings.press(edit.search, Qt.Key.Key_Escape)
    assert edit.form.visible_keys() == list(MAIN_KEYS)
    assert settings.dialog.isVisible()


def test_the_index_knows_every_key() -> None:
    index = search_texts()
    assert set(search(index, "")) == set(KEY_TYPES)
    assert search(index, "xyzzy") == ()


def test_findings_stand_beside_the_field_and_in_the_list(settings: Settings) -> None:
    swap = settings.row("wsl2.swap")
    assert [each.what for each in swap.findings] == ["WSL does not take '8gb' for wsl2.swap and uses the default."]
    items = [settings.dialog.edit.findings.list.item(n) for n in range(settings.dialog.edit.findings.list.count())]
    texts = [item.text() for item in items]
    assert texts[0].startswith("Line 3: Qwen2.5 14B Q4_K_M needs about 11 GB")
    assert texts[1].startswith("Line 4: WSL does not take '8gb'")
    assert "WSL itself will say (1):" in texts
    assert all(not item.icon().isNull() for item in items if item.flags())


def click_finding(settings: Settings, beginning: str) -> None:
    view = settings.dialog.edit.findings.list
    item = next(view.item(n) for n in range(view.count()) if view.item(n).text().startswith(beginning))
    view.scrollToItem(item)
    QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=view.visualItemRect(item).center())


def test_a_finding_leads_to_its_field_also_out_of_a_search(settings: Settings) -> None:
    settings.dialog.edit.search.setText("kernel")
    click_finding(settings, "Line 7:")
    row = settings.dialog.edit.form.rows["experimental.autoMemoryReclaim"]
    assert QApplication.focusWidget() is row.input.focusProxy()
    assert settings.dialog.edit.search.text() == ""


def test_a_finding_without_a_field_leads_to_its_line(opened: Opener, qtbot: QtBot, tmp_path: Path) -> None:
    settings = Settings(opened, qtbot, tmp_path, b"# x\n[wsl22]\nmemory=8GB\n")
    click_finding(settings, "Line 2:")
    assert settings.dialog.edit.in_text
    assert settings.dialog.edit.raw.textCursor().blockNumber() == 1


def test_of_very_many_warnings_the_first_are_listed_and_all_counted(
    opened: Opener, qtbot: QtBot, tmp_path: Path
) -> None:
    settings = Settings(opened, qtbot, tmp_path, b"[wsl2]\n" + b"x=1\n" * 5000)
    view = settings.dialog.edit.findings.list
    assert "WSL itself will say (5000):" in [view.item(n).text() for n in range(view.count())]
    assert view.count() < 200


def test_a_setting_behind_the_fold_is_brought_into_view(settings: Settings) -> None:
    form = settings.dialog.edit.form
    row = settings.row("experimental.swiotlb")
    settings.qtbot.waitUntil(lambda: not row.input.visibleRegion().isEmpty())
    assert form.fold.isChecked()


def test_in_the_text_view_a_finding_leads_to_its_line(settings: Settings) -> None:
    settings.dialog.edit.tabs.setCurrentIndex(1)
    click_finding(settings, "Line 7:")
    assert settings.dialog.edit.raw.textCursor().blockNumber() == 6


def test_form_and_text_are_in_step(settings: Settings) -> None:
    settings.type("wsl2.memory", "24")
    settings.dialog.edit.tabs.setCurrentIndex(1)
    raw = settings.dialog.edit.raw
    assert raw.shown_text() == shown(editor_text(settings))
    assert [each.what for each in raw.marks_at(4)] == ["WSL does not take '8gb' for wsl2.swap and uses the default."]
    settings.write(5, "processors=12")
    settings.text_settles()
    assert "processors=12\r\n" in editor_text(settings)
    settings.dialog.edit.tabs.setCurrentIndex(0)
    assert settings.row("wsl2.processors").input.text() == "12"
    assert settings.row("wsl2.memory").input.text() == "24GB"


def test_typed_text_counts_without_a_pause_where_it_is_saved(settings: Settings) -> None:
    settings.write(5, "processors=12")
    settings.press(settings.dialog.edit.raw, Qt.Key.Key_S, control=True)
    assert "+processors=12" in settings.dialog.review_page.diff.toPlainText()


def test_undo_in_the_text_view_outlives_an_edit_in_the_form(settings: Settings) -> None:
    settings.write(5, "processors=12")
    settings.text_settles()
    settings.type("wsl2.memory", "24")
    settings.dialog.edit.tabs.setCurrentIndex(1)
    raw = settings.dialog.edit.raw
    raw.undo()
    raw.undo()
    settings.text_settles()
    settings.qtbot.waitUntil(lambda: editor_text(settings) == USUAL.decode())


def test_what_stood_in_the_file_at_first_cannot_be_undone_away(settings: Settings) -> None:
    settings.dialog.edit.tabs.setCurrentIndex(1)
    settings.press(settings.dialog.edit.raw, Qt.Key.Key_Z, control=True)
    assert settings.dialog.edit.raw.shown_text() == shown(USUAL.decode())


def test_of_a_long_text_only_what_is_in_sight_is_coloured(opened: Opener, qtbot: QtBot, tmp_path: Path) -> None:
    settings = Settings(opened, qtbot, tmp_path, b"[wsl2]\r\n" + b"memory=8GB # again\r\n" * 20_000)
    settings.dialog.edit.tabs.setCurrentIndex(1)
    raw = settings.dialog.edit.raw
    raw.grab()
    document = raw.document()

    def kinds(line: int) -> int:
        return len(document.findBlockByNumber(line).layout().formats())

    assert [kinds(0), kinds(1), kinds(2)] == [1, 3, 1]
    assert kinds(10_000) == 0
    raw.show_line(10_001)
    raw.grab()
    assert kinds(10_000) == 1


def test_findings_keep_clear_of_the_scroll_bar(opened: Opener, qtbot: QtBot, tmp_path: Path) -> None:
    settings = Settings(opened, qtbot, tmp_path, b"[wsl2]\r\n" + b"x=1\r\n" * 50)
    view = settings.dialog.edit.findings.list
    qtbot.waitUntil(view.verticalScrollBar().isVisible)
    item = next(view.item(n) for n in range(view.count()) if view.item(n).text().startswith("Line 2"))
    picture = view.viewport().grab(view.visualItemRect(item)).toImage()
    ground = picture.pixel(picture.width() - 1, 0)
    assert all(picture.pixel(picture.width() - 2, y) == ground for y in range(picture.height()))


def test_search_in_the_text_view_selects_the_next_hit(settings: Settings) -> None:
    settings.dialog.edit.tabs.setCurrentIndex(1)
    settings.dialog.edit.search.setText("8gb")
    assert settings.dialog.edit.raw.textCursor().blockNumber() == 2
    settings.press(settings.dialog.edit.search, Qt.Key.Key_Return)
    assert settings.dialog.edit.raw.textCursor().blockNumber() == 3
    settings.press(settings.dialog.edit.search, Qt.Key.Key_Return)
    assert settings.dialog.edit.raw.textCursor().blockNumber() == 2


def test_tab_goes_from_field_to_field_in_the_order_of_the_page(settings: Settings) -> None:
    form = settings.dialog.edit.form
    settings.click(form.fold)
    settings.row("wsl2.memory")
    seen = []
    for _ in range(400):
        focused = QApplication.focusWidget()
        assert focused is not None
        seen += [key for key, row in form.rows.items() if row.isAncestorOf(focused) and key not in seen]
        settings.press(focused, Qt.Key.Key_Tab)
    assert seen == form.visible_keys()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_field_can_be_made_and_has_a_name(opened: Opener, qtbot: QtBot, tmp_path: Path, language: str) -> None:
    settings = Settings(opened, qtbot, tmp_path, None, language=language)
    form = settings.dialog.edit.form
    form.fold.click()
    for key, row in form.rows.items():
        target = row.input.focusProxy()
        assert target is not None, key
        assert target.accessibleName() == Texts(language).text(f"wslconfig.key.{key.partition('.')[2]}.name")
    assert settings.dialog.edit.findings.none.isVisibleTo(settings.dialog)


def test_values_in_words() -> None:
    texts = Texts("en")
    assert split_size(24 << 30) == ("24", "GB")
    assert split_size(1000) == ("1000", "B")
    assert value_words(texts, "wsl2.memory", 1536 << 20) == "1536 MB"
    assert value_words(texts, "wsl2.memory", 12_365_852 << 10) == "11.8 GB"
    assert value_words(texts, "wsl2.vmIdleTimeout", 60_000) == "60,000 ms"
    assert value_words(texts, "wsl2.vmIdleTimeout", -1) == "-1"
    assert value_words(texts, "experimental.ignoredPorts", (80, 443)) == "80, 443"
    assert value_words(texts, "wsl2.guiApplications", False) == "Off"
    assert value_words(texts, "wsl2.memory", None) == "default"

"""What is said in a box of its own, where no window is there to say it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtCore import Qt, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QMessageBox

from kotaro_bridge.domain.errors import problem
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.not_started import tell_not_started
from kotaro_bridge.ui.plain_box import plain_box


@pytest.fixture
def answered(qapp: QApplication, request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """What a box said; the key of the parameter is pressed in it."""
    qapp.setQuitOnLastWindowClosed(False)
    said: list[str] = []

    def press() -> None:
        box = qapp.activeModalWidget()
        if isinstance(box, QMessageBox):
            said.append(box.text())
            QTest.keyClick(box, request.param)

    timer = QTimer()
    timer.timeout.connect(press)
    timer.start(5)
    yield said
    timer.stop()


@pytest.mark.parametrize("answered", [Qt.Key.Key_Escape], indirect=True)
@pytest.mark.parametrize(
    ("language", "first"),
    [("en", "Kotaro Bridge did not start."), ("ja", "虎太郎ブリッジを起動できませんでした。")],
)
def test_why_there_is_no_window_is_said_after_that_there_is_none(
    answered: list[str], language: str, first: str
) -> None:
    texts, why = Texts(language), problem("storage.unusable", path="C:\\x", detail="full")
    tell_not_started(texts, why)
    message = texts.message(why)
    assert answered == [f"{first}\n\n{message.what}\n\n{message.do}"]


@pytest.mark.parametrize("answered", [Qt.Key.Key_Return], indirect=True)
def test_a_text_that_looks_like_html_is_shown_as_it_is(answered: list[str]) -> None:
    box = plain_box(QMessageBox.Icon.Critical, "<code object main>", "", "<b>x</b>")
    box.exec()
    assert answered == ["<code object main>\n\n<b>x</b>"]
    assert box.textFormat() is Qt.TextFormat.PlainText
    assert box.informativeText() == ""

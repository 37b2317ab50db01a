"""Small parts that all windows share. They hold no product logic."""

from __future__ import annotations

import re

from PySide6.QtCore import QSize, Qt, QTimer, Slot
from PySide6.QtGui import QFontMetrics, QGuiApplication, QPainter, QPaintEvent, QPalette, QResizeEvent, QShowEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.icons import glyph
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.widgets.scroll import Scroll

COPIED_MS = 1600
NARROWEST = 96
"""Pixels of a value."""
LONG = 40
"""Characters of a value that fit anywhere."""


class Card(QFrame):
    """A rounded panel with a vertical layout, `body`."""

    def __init__(self, parent: QWidget | None = None, *, spacing: int = UNIT) -> None:
        super().__init__(parent)
        self.setObjectName("Card")
        self.body = QVBoxLayout(self)
        self.body.setContentsMargins(2 * UNIT, UNIT + 4, 2 * UNIT, UNIT + 4)
        self.body.setSpacing(spacing)
        self._content: QWidget | None = None

    def fresh(self) -> QWidget:
        """An empty widget in the card, in the place of the one that was handed out before."""
        old, self._content = self._content, QWidget()
        if old is None:
            self.body.addWidget(self._content)
        else:
            self.body.replaceWidget(old, self._content)
            old.hide()
            old.deleteLater()
        return self._content


def label(text: str = "", role: str = "", *, wrap: bool = False, selectable: bool = False) -> QLabel:
    """A plain-text label; `role` chooses its type in the style sheet."""
    made = QLabel(text)
    made.setTextFormat(Qt.TextFormat.PlainText)
    if role:
        made.setProperty("role", role)
    made.setWordWrap(wrap)
    if selectable:
        made.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
    return made


def value_label(text: str, role: str = "") -> QLabel:
    """A label for a value of any length, such as a path: a long one breaks inside words."""
    if len(text) <= LONG:
        return label(text, role, wrap=True)
    made = label(re.sub(r"([\\/=,._-])", "\\1\u200b", text), role, wrap=True)
    made.setMinimumWidth(NARROWEST)
    made.setAccessibleName(text)
    made.setToolTip(text)
    return made


def shortened(text: str) -> str:
    """Beginning and end of what is too long for a caption."""
    return text if len(text) <= LONG else f"{text[: LONG // 2]}…{text[-LONG // 2 :]}"


def button(text: str, kind: str = "") -> QPushButton:
    """A push button; `kind` is `primary`, `quiet`, `segment` or empty."""
    made = QPushButton(text)
    if kind:
        made.setProperty("kind", kind)
    made.setAutoDefault(False)
    return made


def endless() -> QProgressBar:
    """A bar for what takes a time that nobody knows."""
    made = QProgressBar()
    made.setRange(0, 0)
    made.setTextVisible(False)
    made.setFixedHeight(6)
    return made


def chip(text: str) -> QLabel:
    """A small marked label, for `Simulated PC`."""
    made = label(text)
    made.setObjectName("Chip")
    made.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Maximum)
    return made


def tab_after(anchor: QWidget, *parts: QWidget) -> None:
    """Let Tab come to parts where they stand: after `anchor`, in this order. Qt goes in the order in which they came
    into the window, which all are to be in. An anchor that takes no focus at all does not count for it.
    """
    for part in parts:
        QWidget.setTabOrder(anchor, part)
        anchor = part


def stops_of(content: QWidget) -> list[QWidget]:
    """What Tab stops at, in the order in which it was made."""
    return [part for part in content.findChildren(QWidget) if part.focusPolicy() & Qt.FocusPolicy.TabFocus]


def plain(caption: str) -> str:
    """A caption without the marks of its mnemonic."""
    return re.sub(r"\(&.\)|&(?=.)", "", caption.replace("&&", "\0")).replace("\0", "&")


def put(widget: QLabel | QAbstractButton, text: str) -> None:
    """Set a text only where it differs: a repaint that changes nothing still costs."""
    if widget.text() != text:
        widget.setText(text)


def set_property(widget: QWidget, name: str, value: str) -> None:
    """Set a property that the style sheet looks at, and restyle where it changed."""
    if widget.property(name) != value:
        widget.setProperty(name, value)
        widget.style().unpolish(widget)
        widget.style().polish(widget)


def row(*parts: QWidget | QLayout | int, spacing: int = UNIT) -> QHBoxLayout:
    """A line of widgets; an int is a stretch."""
    made = QHBoxLayout()
    made.setContentsMargins(0, 0, 0, 0)
    made.setSpacing(spacing)
    for part in parts:
        if isinstance(part, int):
            made.addStretch(part)
        elif isinstance(part, QLayout):
            made.addLayout(part)
        else:
            made.addWidget(part)
    return made


def scrolled(*parts: QWidget | QLayout, last: QWidget | None = None) -> Scroll:
    """Widgets one below the other, to be scrolled where they do not fit; `last` takes the room that is left."""
    content = QWidget()
    box = QVBoxLayout(content)
    box.setContentsMargins(0, 0, 0, 0)
    box.setSpacing(UNIT + 4)
    for part in parts:
        box.addLayout(part) if isinstance(part, QLayout) else box.addWidget(part)
    box.addWidget(last, 1) if last is not None else box.addStretch(1)
    return in_scroll(content)


def in_scroll(content: QWidget) -> Scroll:
    """A widget that is scrolled where it is too high for its place."""
    made = Scroll()
    made.setWidget(content)
    return made


class Pages(QStackedWidget):
    """Pages of which each fits or scrolls by itself. The preferred height of the longest, which Qt takes for the least
    of a window on Windows, does not keep the window from being low.
    """

    def hasHeightForWidth(self) -> bool:
        """Any height will do."""
        return False


class Elided(QLabel):
    """A one-line label that shortens what does not fit and shows it whole in the tooltip."""

    def __init__(self, text: str = "", role: str = "") -> None:
        super().__init__(text)
        self.setTextFormat(Qt.TextFormat.PlainText)
        if role:
            self.setProperty("role", role)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def minimumSizeHint(self) -> QSize:
        """Any width will do."""
        return QSize(40, super().minimumSizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the shortened text."""
        shown = QFontMetrics(self.font()).elidedText(self.text(), Qt.TextElideMode.ElideRight, self.width())
        self.setToolTip(self.text() if shown != self.text() else "")
        painter = QPainter(self)
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, shown)
        painter.end()


class ElidedButton(QPushButton):
    """A button that shortens a caption with a long name in it where it does not fit, and tells it whole."""

    def __init__(self, text: str, kind: str = "") -> None:
        super().__init__(text)
        self._whole = text
        if kind:
            self.setProperty("kind", kind)
        self.setAccessibleName(plain(text))

    def put(self, text: str) -> None:
        """Another caption."""
        if text != self._whole:
            self._whole = text
            self.setAccessibleName(plain(text))
            self._fit()

    def sizeHint(self) -> QSize:
        """Room for the whole caption."""
        return super().sizeHint() + QSize(self._advance(self._whole) - self._advance(self.text()), 0)

    def minimumSizeHint(self) -> QSize:
        """Any width will do."""
        return QSize(96, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Fit the caption into the new width."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        missing = self.sizeHint().width() - self.width()
        shown = self._whole
        if missing > 0:
            room, flag = self._advance(self._whole) - missing, Qt.TextFlag.TextShowMnemonic
            shown = self.fontMetrics().elidedText(self._whole, Qt.TextElideMode.ElideMiddle, room, flag)
        put(self, shown)
        self.setToolTip(plain(self._whole) if shown != self._whole else "")

    def _advance(self, text: str) -> int:
        return self.fontMetrics().size(Qt.TextFlag.TextShowMnemonic, text).width()


class GlyphButton(QPushButton):
    """A button with a line icon that follows the theme."""

    def __init__(self, theme: Theme, name: str, text: str, kind: str = "") -> None:
        super().__init__(text)
        self._theme = theme
        self._name = name
        if kind:
            self.setProperty("kind", kind)
        self.setAutoDefault(False)
        self.setIconSize(QSize(14, 14))
        self.recolour()
        theme.changed.connect(self.recolour)

    def set_glyph(self, name: str) -> None:
        """Show another icon."""
        if name != self._name:
            self._name = name
            self.recolour()

    @Slot()
    def recolour(self) -> None:
        """Draw the icon again in the colour that goes with the button's kind."""
        tokens = self._theme.tokens
        kind = self.property("kind")
        colour = {"primary": tokens.on_accent, "quiet": tokens.accent}.get(kind, tokens.text)
        self.setIcon(glyph(self._name, colour))


class CopyButton(GlyphButton):
    """Puts a text on the clipboard and says so for a moment."""

    def __init__(self, theme: Theme, texts: Texts, what: str, caption: str = "") -> None:
        """Args: what: accessible name, such as `Copy base URL`; caption: text of the button, `Copy` if empty."""
        super().__init__(theme, "copy", caption or texts.text("ui.copy"), "quiet")
        self._caption = self.text()
        self._copied = texts.text("ui.copied")
        self._value = ""
        self.setAccessibleName(what)
        self.setToolTip(what)
        self._back = QTimer(self)
        self._back.setSingleShot(True)
        self._back.setInterval(COPIED_MS)
        self._back.timeout.connect(self._restore)
        self.clicked.connect(self._copy)

    def set_value(self, value: str) -> None:
        """What a click copies; nothing to copy disables the button."""
        self._value = value
        self.setEnabled(bool(value))

    def showEvent(self, event: QShowEvent) -> None:
        """Keep room for both captions, so that nothing jumps at a click; the style sheet is known only now."""
        super().showEvent(event)
        caption = self.text()
        widths = []
        for text in (self._copied, caption):
            self.setText(text)
            widths.append(self.sizeHint().width())
        self.setMinimumWidth(max(widths))

    @Slot()
    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self._value)
        self.setText(self._copied)
        self.set_glyph("passed")
        self._back.start()

    @Slot()
    def _restore(self) -> None:
        self.setText(self._caption)
        self.set_glyph("copy")

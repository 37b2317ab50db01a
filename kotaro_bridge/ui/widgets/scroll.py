"""A page that scrolls: what gets the focus by a key comes into view, and the wheel turns no value on its way."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QFrame, QScrollArea, QWidget


class Scroll(QScrollArea):
    """Scrolls up and down where its content is too high, and takes no focus itself.

    Qt brings into view what Tab reaches from inside alone, not what is reached from another part of the window, by a
    mnemonic or by the program.
    """

    def __init__(self) -> None:
        super().__init__()
        self._focused: QWidget | None = None
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        app = QApplication.instance()
        if isinstance(app, QApplication):
            app.focusChanged.connect(self._on_focus)

    @Slot(QWidget, QWidget)
    def _on_focus(self, _before: QWidget | None, now: QWidget | None) -> None:
        """A page stays where it is for somebody who comes back to its window, or presses what is seen in part."""
        if now is None or now.window() is not self.window():
            return
        if now is not self._focused and QGuiApplication.mouseButtons() == Qt.MouseButton.NoButton:
            self.ensureWidgetVisible(now)  # nothing, where it is no part of this page
        self._focused = now


class _Calm(QObject):
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Hand the wheel to the page."""
        if event.type() is QEvent.Type.Wheel:
            event.ignore()
            return True
        return super().eventFilter(watched, event)


def calm(part: QWidget) -> None:
    """Make a box or a slider deaf to the wheel, which scrolls the page."""
    part.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    part.installEventFilter(_Calm(part))

"""The frame of the settings dialog: size, style and what Enter does, whatever page it shows."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Slot
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QDialog, QPushButton

from kotaro_bridge.ui.icons import app_icon
from kotaro_bridge.ui.theme import Theme, style_sheet
from kotaro_bridge.ui.window_size import fit_on_screen

USUAL = QSize(1080, 780)
SMALLEST = QSize(880, 420)
"""Fits 1366 x 768 at 150 %, less the task bar and the frame of the window."""


class SettingsWindow(QDialog):
    """Non-modal, can be made as large as the screen, and fits it at first."""

    def __init__(self, theme: Theme, title: str, usual: QSize = USUAL, smallest: QSize = SMALLEST) -> None:
        super().__init__()
        self._theme = theme
        self.setWindowTitle(title)
        self.setWindowIcon(app_icon())
        self.setWindowFlags(self.windowFlags() | Qt.WindowType.WindowMinMaxButtonsHint)
        self.setModal(False)
        self._restyle()
        theme.changed.connect(self._restyle)
        fit_on_screen(self, usual, smallest)

    @Slot()
    def _restyle(self) -> None:
        self.setStyleSheet(style_sheet(self._theme.tokens))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter presses the button that has the focus; held down it presses nothing on the page that comes then."""
        focused = self.focusWidget()
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and isinstance(focused, QPushButton):
            if not event.isAutoRepeat():
                focused.click()
        else:
            super().keyPressEvent(event)

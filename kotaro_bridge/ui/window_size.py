"""How large a window opens: as is usual for it, where the screen has the room."""

from __future__ import annotations

from PySide6.QtCore import QSize
from PySide6.QtWidgets import QWidget

FRAME = QSize(24, 48)
"""What the title bar, the borders and some air take."""


def fit_on_screen(window: QWidget, usual: QSize, smallest: QSize) -> None:
    """Set the size of a window that was not shown yet. Its contents scroll where they need more than `smallest`."""
    room = window.screen().availableSize() - FRAME
    window.setMinimumSize(smallest)
    window.resize(usual.boundedTo(room).expandedTo(smallest))


def take_place(new: QWidget, old: QWidget) -> None:
    """Show a window where another one is, as large, and maximized or minimized like it."""
    new.setGeometry(old.normalGeometry())
    new.setWindowState(old.windowState())
    new.show()

"""A message in a box of its own, for what no window can say: why there is none, or that the program ends."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QMessageBox


def plain_box(icon: QMessageBox.Icon, head: str, *paragraphs: str) -> QMessageBox:
    """To be shown with `exec`; Enter and Esc close it. Its text can be copied, and none of it is taken for HTML."""
    box = QMessageBox(icon, "Kotaro Bridge", "\n\n".join(part for part in (head, *paragraphs) if part))
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setTextInteractionFlags(
        Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
    )
    return box

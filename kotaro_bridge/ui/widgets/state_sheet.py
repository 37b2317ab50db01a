"""All tray icons on one picture, for the tour."""

from __future__ import annotations

from PySide6.QtCore import QRect, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.icons import state_pixmap
from kotaro_bridge.ui.theme import DARK, LIGHT
from kotaro_bridge.ui.view_models.look import Look


class StateSheet(QWidget):
    """All tray icons side by side, on a light and on a dark ground, in the sizes of the tray."""

    def __init__(self, texts: Texts) -> None:
        super().__init__()
        self._texts = texts
        self.setFixedSize(640, 190)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the sheet."""
        painter = QPainter(self)
        names = (Phase.IDLE, Phase.LOADING, Phase.READY, Phase.FAILED, Phase.ORPHANED, Phase.STOPPING)
        for line, tokens in enumerate((LIGHT, DARK)):
            painter.fillRect(0, line * 95, 640, 95, QColor(tokens.side))
            painter.setPen(QColor(tokens.text))
            for column, (look, phase) in enumerate(zip(Look, names, strict=True)):
                left, top = 20 + column * 103, line * 95 + 14
                for size, offset in ((16, 0), (20, 22), (32, 48)):
                    painter.drawPixmap(left + offset, top + (32 - size) // 2, state_pixmap(look, size))
                words = self._texts.text(f"ui.phase.{phase}")
                painter.drawText(QRect(left - 8, top + 40, 100, 30), Qt.TextFlag.TextWordWrap, words)
        painter.end()

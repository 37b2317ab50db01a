"""The bar that shows who holds a card's memory. Parts differ in colour and in pattern, and are spelt out beside it."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QBrush, QColor, QPainter, QPainterPath, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from kotaro_bridge.ui.theme import Theme

HEIGHT = 14
PATTERNS = {
    "other": Qt.BrushStyle.BDiagPattern,
    "bad": Qt.BrushStyle.DiagCrossPattern,
    "kv": Qt.BrushStyle.FDiagPattern,
    "compute": Qt.BrushStyle.VerPattern,
    "overhead": Qt.BrushStyle.Dense4Pattern,
    "reserve": Qt.BrushStyle.HorPattern,
    "aside": Qt.BrushStyle.DiagCrossPattern,
}
PLAN = ("weights", "kv", "compute", "overhead")
"""Parts of a plan, in the order of the theme's series."""


def colours(theme: Theme) -> dict[str, str]:
    """The colour of each kind of segment."""
    tokens = theme.tokens
    own = {"ours": tokens.series[0], "other": tokens.other, "bad": tokens.bad}
    own |= {"reserve": tokens.muted, "aside": tokens.muted}
    return own | dict(zip(PLAN, tokens.series, strict=True))


class Bar(QWidget):
    """Segments of a whole; what no segment covers is free."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._parts: tuple[tuple[float, str], ...] = ()
        self._mark: float | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        theme.changed.connect(self.update)

    def sizeHint(self) -> QSize:
        """As wide as it gets, one line high."""
        return QSize(160, HEIGHT)

    def set_parts(self, parts: tuple[tuple[float, str], ...], words: str, mark: float | None = None) -> None:
        """Show segments.

        Args:
            parts: share of the whole (0 to 1) and kind: `ours`, `other`, `bad` or a part of a plan.
            words: the same for screen readers.
            mark: where to draw a line across (share of the whole), for what is needed.
        """
        rounded = tuple((round(share, 3), kind) for share, kind in parts)
        if (rounded, mark) != (self._parts, self._mark):
            self._parts, self._mark = rounded, mark
            self.update()
        if self.accessibleName() != words:
            self.setAccessibleName(words)
            self.setToolTip(words)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the track and its segments."""
        tokens = self._theme.tokens
        inks = colours(self._theme)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        area = QRectF(0, (self.height() - HEIGHT) / 2, self.width(), HEIGHT)
        outline = QPainterPath()
        outline.addRoundedRect(area, 4, 4)
        painter.setClipPath(outline)
        painter.fillRect(area, QColor(tokens.track))
        left = area.left()
        for share, kind in self._parts:
            width = share * area.width()
            part = QRectF(left, area.top(), width, area.height())
            painter.fillRect(part, QColor(inks[kind]))
            if kind in PATTERNS:
                painter.fillRect(part, QBrush(QColor(tokens.track), PATTERNS[kind]))
            left += width
        if self._mark is not None:
            x = area.left() + min(1.0, self._mark) * area.width()
            painter.fillRect(QRectF(min(x, area.right() - 2), area.top(), 2, area.height()), QColor(tokens.text))
        painter.end()


class Swatch(QWidget):
    """A sample of a segment's colour and pattern, for the line that names it."""

    def __init__(self, theme: Theme, kind: str) -> None:
        super().__init__()
        self._theme = theme
        self._kind = kind
        self.setFixedSize(12, 12)
        theme.changed.connect(self.update)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw it."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(colours(self._theme)[self._kind]))
        if self._kind in PATTERNS:
            painter.fillRect(self.rect(), QBrush(QColor(self._theme.tokens.track), PATTERNS[self._kind]))
        painter.end()

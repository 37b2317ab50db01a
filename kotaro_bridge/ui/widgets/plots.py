"""Live graphs. Importing this module brings in pyqtgraph and numpy, so it is imported when the dashboard first opens.

Owns the look of graphs: a fixed time window that ends now, gaps where there is no data, a second axis for a line of
another size, and the values under the pointer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, QSize, Qt, Signal, Slot
from PySide6.QtGui import QColor, QFont, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.view_models.series import nice_ceiling
from kotaro_bridge.ui.view_models.status import clock
from kotaro_bridge.ui.widgets.basics import label, put

pg.setConfigOptions(antialias=True)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a graph. A dashed one has no area under it: two areas over each other would read as a third line.

    Args:
        name: for the legend.
        series: index into the theme's series colours.
        dashed: drawn dashed, so that lines differ by more than colour.
        right: belongs to the right axis.
        form: how a value is shown, such as `{:.1f} GiB`.
    """

    name: str
    series: int
    form: str
    dashed: bool = False
    right: bool = False


class LivePlot(QWidget):
    """A legend with the newest values over a graph."""

    def __init__(self, theme: Theme, lines: Sequence[Line], words: str, now_word: str, least: float = 1.0) -> None:
        """Args: words: accessible name; now_word: right end of the time axis; least: smallest upper end of an axis."""
        super().__init__()
        self._theme = theme
        self._lines = tuple(lines)
        self._least = least
        self._fixed_top: float | None = None
        self._x: list[float] = []
        self._values: list[Sequence[float]] = [[] for _ in lines]
        self._pointer: float | None = None
        self._tops: dict[int, float] = {}
        self._plot = _Plot(now_word)
        self._plot.setAccessibleName(words)
        self._plot.hovered.connect(self._on_hover)
        self._right = self._add_right_axis() if any(line.right for line in lines) else None
        self._curves = [self._add_curve(line) for line in lines]
        self._legend = [_Legend(theme, line) for line in lines]
        top = QHBoxLayout()
        top.setContentsMargins(0, 0, 0, 0)
        top.setSpacing(2 * UNIT)
        for entry in self._legend:
            top.addWidget(entry)
        top.addStretch(1)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(2)
        whole.addLayout(top)
        whole.addWidget(self._plot, 1)
        self._recolour()
        theme.changed.connect(self._recolour)

    def set_span(self, seconds: float) -> None:
        """Width of the time window."""
        self._plot.set_span(seconds)

    def set_top(self, top: float | None) -> None:
        """Fix the upper end of the left axis, or let it follow the values."""
        self._fixed_top = top

    def show_values(self, x: list[float], values: Sequence[Sequence[float]]) -> None:
        """Draw lines; NaN leaves a gap."""
        self._x = x
        self._values = list(values)
        times = np.asarray(x, dtype=float)
        for curve, line in zip(self._curves, values, strict=True):
            curve.setData(times, np.asarray(line, dtype=float), connect="finite")
        self._scale(
            self._plot.plotItem.vb, 0, [v for v, line in zip(values, self._lines, strict=True) if not line.right]
        )
        if self._right is not None:
            self._scale(self._right, 1, [v for v, line in zip(values, self._lines, strict=True) if line.right])
        self._show_legend()

    def drawn(self, index: int) -> tuple[Any, Any]:
        """What the graph holds for a line: times and values."""
        x, y = self._curves[index].getData()
        return x, y

    def _scale(self, box: Any, axis: int, values: Sequence[Sequence[float]]) -> None:
        flat = [value for line in values for value in line]
        top = self._fixed_top if axis == 0 and self._fixed_top is not None else nice_ceiling(flat, self._least)
        if self._tops.get(axis) != top:
            self._tops[axis] = top
            box.setYRange(0, top * 1.04, padding=0)

    def _show_legend(self) -> None:
        at = -1 if self._pointer is None or not self._x else int(np.argmin(np.abs(np.asarray(self._x) - self._pointer)))
        for entry, line, values in zip(self._legend, self._lines, self._values, strict=True):
            value = values[at] if values else math.nan
            entry.show_value(None if math.isnan(value) else line.form.format(value))

    @Slot(object)
    def _on_hover(self, x: float | None) -> None:
        self._pointer = x
        self._show_legend()

    def _add_curve(self, line: Line) -> Any:
        curve = pg.PlotCurveItem(fillLevel=None if line.dashed else 0)
        (self._right if line.right and self._right is not None else self._plot.plotItem).addItem(curve)
        return curve

    def _add_right_axis(self) -> Any:
        item = self._plot.plotItem
        box = pg.ViewBox(enableMenu=False)
        box.setMouseEnabled(x=False, y=False)
        box.disableAutoRange()
        item.showAxis("right")
        item.setContentsMargins(0, 4, 0, 0)
        item.scene().addItem(box)
        item.getAxis("right").linkToView(box)
        box.setXLink(item.vb)
        item.vb.sigResized.connect(lambda: box.setGeometry(item.vb.sceneBoundingRect()))
        return box

    @Slot()
    def _recolour(self) -> None:
        tokens = self._theme.tokens
        self._plot.setBackground(tokens.card)
        for line, curve in zip(self._lines, self._curves, strict=True):
            colour = QColor(tokens.series[line.series])
            style = Qt.PenStyle.DashLine if line.dashed else Qt.PenStyle.SolidLine
            curve.setPen(pg.mkPen(colour, width=1.6, style=style))
            if not line.dashed:
                colour.setAlpha(45)
                curve.setBrush(colour)
        for name in ("left", "bottom", "right"):
            axis = self._plot.plotItem.getAxis(name)
            axis.setPen(pg.mkPen(tokens.line))
            axis.setTextPen(pg.mkPen(tokens.muted))
        for entry in self._legend:
            entry.update()


class _Plot(pg.PlotWidget):  # type: ignore[misc]
    """pyqtgraph's widget without menus, dragging and buttons; the wheel is left to the page."""

    hovered = Signal(object)

    def __init__(self, now_word: str) -> None:
        super().__init__(
            axisItems={"bottom": _TimeAxis(now_word), "left": _ValueAxis("left"), "right": _ValueAxis("right")}
        )
        item = self.plotItem
        item.setMenuEnabled(False)
        item.hideButtons()
        item.setMouseEnabled(x=False, y=False)
        item.showGrid(x=False, y=True, alpha=0.12)
        item.vb.setDefaultPadding(0)
        item.hideAxis("right")
        item.setContentsMargins(0, 4, 12, 0)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setMinimumHeight(72)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMouseTracking(True)
        self._span_s = 0.0
        self.set_span(120)

    def set_span(self, seconds: float) -> None:
        """Show the last `seconds`."""
        if seconds == self._span_s:
            return
        self._span_s = seconds
        self.plotItem.setXRange(-seconds, 0, padding=0)

    def sizeHint(self) -> QSize:
        """Small: the layout gives it what there is."""
        return QSize(220, 120)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Tell which time is under the pointer."""
        spot: QPointF = self.plotItem.vb.mapSceneToView(self.mapToScene(event.position().toPoint()))
        self.hovered.emit(spot.x())
        super().mouseMoveEvent(event)

    def leaveEvent(self, event: QEvent) -> None:
        """Back to the newest values."""
        self.hovered.emit(None)
        super().leaveEvent(event)

    def wheelEvent(self, event: Any) -> None:
        """Not ours."""
        event.ignore()


_FIVE_TICKS = 132
"""Pixels of an axis with five times under it."""


def _small_font() -> QFont:
    font = QFont()
    font.setPointSizeF(8)
    return font


class _TimeAxis(pg.AxisItem):  # type: ignore[misc]
    """Seconds before now as `-1:30`."""

    def __init__(self, now_word: str) -> None:
        super().__init__("bottom")
        self._now_word = now_word
        # The words at both ends stick out over the axis; there is room for them.
        self.setStyle(tickLength=0, tickFont=_small_font(), tickTextOffset=4, hideOverlappingLabels=False)

    def tickValues(self, minVal: float, maxVal: float, size: float) -> list[tuple[float, list[float]]]:
        """Quarters of the window, or halves where there is no room for so many words."""
        parts = 4 if size >= _FIVE_TICKS else 2
        step = max(1.0, (maxVal - minVal) / parts)
        return [(step, [minVal + step * n for n in range(parts + 1)])]

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        """The ends carry no minus and no zero: `now`."""
        return [self._now_word if value > -0.5 else f"-{clock(-value)}" for value in values]


class _ValueAxis(pg.AxisItem):  # type: ignore[misc]
    """Zero, middle and top."""

    def __init__(self, side: str) -> None:
        super().__init__(side)
        self.setStyle(tickLength=0, tickFont=_small_font(), tickTextOffset=4, hideOverlappingLabels=False)
        self.setWidth(34)

    def tickValues(self, minVal: float, maxVal: float, size: float) -> list[tuple[float, list[float]]]:
        """Three lines are enough to read a live graph."""
        top = maxVal / 1.04
        return [(top / 2, [0.0, top / 2, top])]

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        """Without needless digits."""
        return [f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}" for value in values]


class _Legend(QWidget):
    """A piece of the line, its name and its value."""

    def __init__(self, theme: Theme, line: Line) -> None:
        super().__init__()
        self._line = line
        self._text = label(line.name, "small")
        self._swatch = _Swatch(theme, line)
        box = QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(6)
        box.addWidget(self._swatch)
        box.addWidget(self._text)

    def show_value(self, value: str | None) -> None:
        """The value under the pointer or the newest; None where there is none."""
        put(self._text, f"{self._line.name} {value if value is not None else '–'}")


class _Swatch(QWidget):
    def __init__(self, theme: Theme, line: Line) -> None:
        super().__init__()
        self._theme = theme
        self._line = line
        self.setFixedSize(18, 10)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw a short piece of the line as the graph draws it."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        style = Qt.PenStyle.DashLine if self._line.dashed else Qt.PenStyle.SolidLine
        painter.setPen(QPen(QColor(self._theme.tokens.series[self._line.series]), 2, style))
        painter.drawLine(0, 5, 18, 5)
        painter.end()

"""All pictures, drawn in code: crisp at every scale, no image files, no SVG module.

Owns the shapes. On a 16 x 16 grid; `LOOK_COLOURS` keeps them readable on light and dark taskbars.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QIcon, QLinearGradient, QPainter, QPainterPath, QPen, QPixmap, QPolygonF

from kotaro_bridge.ui.theme import LOOK_COLOURS
from kotaro_bridge.ui.view_models.look import Look

SIZES = (16, 20, 24, 32, 48, 64)
Drawing = Callable[[QPainter, QColor], None]


def state_icon(look: Look) -> QIcon:
    """The tray's picture of a state."""
    icon = QIcon()
    for size in SIZES:
        icon.addPixmap(state_pixmap(look, size))
    return icon


def state_pixmap(look: Look, size: int, ratio: float = 1.0) -> QPixmap:
    """One size of a state's picture; `size` in logical pixels."""
    return _pixmap(size, ratio, _STATES[look], QColor(LOOK_COLOURS[look]))


def glyph(name: str, colour: str, size: int = 16) -> QIcon:
    """A line icon for a button, in the colour of its text, and for one and two pixels per point."""
    icon = QIcon()
    for ratio in (1.0, 1.5, 2.0):
        icon.addPixmap(glyph_pixmap(name, colour, size, ratio))
    return icon


def glyph_pixmap(name: str, colour: str, size: int = 16, ratio: float = 1.0) -> QPixmap:
    """One pixmap of a line icon."""
    return _pixmap(size, ratio, _GLYPHS[name], QColor(colour))


def app_icon() -> QIcon:
    """The product's own picture: a bridge."""
    icon = QIcon()
    for size in (*SIZES, 128, 256):
        icon.addPixmap(app_pixmap(size))
    return icon


def app_pixmap(size: int) -> QPixmap:
    """One size of it; also what the programs' icon file is made of."""
    return _pixmap(size, 1.0, _bridge, QColor("#ffffff"))


def _pixmap(size: int, ratio: float, drawing: Drawing, colour: QColor) -> QPixmap:
    pixels = round(size * ratio)
    pixmap = QPixmap(pixels, pixels)
    pixmap.setDevicePixelRatio(ratio)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.scale(size / 16, size / 16)
    drawing(painter, colour)
    painter.end()
    return pixmap


def _pen(painter: QPainter, colour: QColor, width: float) -> None:
    pen = QPen(colour, width, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin)
    painter.setPen(pen)
    painter.setBrush(Qt.BrushStyle.NoBrush)


def _fill(painter: QPainter, colour: QColor) -> None:
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QBrush(colour))


def _lines(painter: QPainter, *points: tuple[float, float]) -> None:
    painter.drawPolyline(QPolygonF([QPointF(x, y) for x, y in points]))


# --- states ---------------------------------------------------------------------------------------------------------


def _idle(painter: QPainter, colour: QColor) -> None:
    _pen(painter, colour, 2)
    painter.drawEllipse(QRectF(2, 2, 12, 12))


def _working(painter: QPainter, colour: QColor) -> None:
    _pen(painter, colour, 2)
    painter.drawArc(QRectF(2, 2, 12, 12), 90 * 16, -270 * 16)
    _fill(painter, colour)
    for x in (5.2, 8.0, 10.8):
        painter.drawEllipse(QPointF(x, 8), 1.05, 1.05)


def _ready(painter: QPainter, colour: QColor) -> None:
    _fill(painter, colour)
    painter.drawEllipse(QRectF(1, 1, 14, 14))
    _pen(painter, QColor("#ffffff"), 2)
    _lines(painter, (4.7, 8.3), (7.0, 10.6), (11.4, 5.7))


def _alert(painter: QPainter, colour: QColor) -> None:
    _fill(painter, colour)
    painter.drawRoundedRect(QRectF(1, 1, 14, 14), 3, 3)
    _pen(painter, QColor("#ffffff"), 2)
    _lines(painter, (5.2, 5.2), (10.8, 10.8))
    _lines(painter, (10.8, 5.2), (5.2, 10.8))


def _attention(painter: QPainter, colour: QColor) -> None:
    painter.setPen(QPen(colour, 1.6, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin))
    painter.setBrush(QBrush(colour))
    painter.drawPolygon(QPolygonF([QPointF(8, 2), QPointF(14.6, 13.8), QPointF(1.4, 13.8)]))
    _pen(painter, QColor("#ffffff"), 1.9)
    _lines(painter, (8, 6.2), (8, 9.6))
    _fill(painter, QColor("#ffffff"))
    painter.drawEllipse(QPointF(8, 12.2), 1.05, 1.05)


def _stopping(painter: QPainter, colour: QColor) -> None:
    _pen(painter, colour, 2)
    painter.drawEllipse(QRectF(2, 2, 12, 12))
    _fill(painter, colour)
    painter.drawRect(QRectF(5.5, 5.5, 5, 5))


_STATES: dict[Look, Drawing] = {
    Look.IDLE: _idle,
    Look.WORKING: _working,
    Look.READY: _ready,
    Look.ALERT: _alert,
    Look.ATTENTION: _attention,
    Look.STOPPING: _stopping,
}


def _bridge(painter: QPainter, colour: QColor) -> None:
    ground = QLinearGradient(0, 0, 16, 16)
    ground.setColorAt(0, QColor("#f29a2e"))
    ground.setColorAt(1, QColor("#d2581c"))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QBrush(ground))
    painter.drawRoundedRect(QRectF(0.5, 0.5, 15, 15), 3.6, 3.6)
    _pen(painter, colour, 1.5)
    cable = QPainterPath(QPointF(2.6, 8.2))
    cable.quadTo(QPointF(4.2, 7.4), QPointF(5.0, 4.2))
    cable.quadTo(QPointF(8.0, 11.0), QPointF(11.0, 4.2))
    cable.quadTo(QPointF(11.8, 7.4), QPointF(13.4, 8.2))
    painter.drawPath(cable)
    _lines(painter, (2.6, 10.6), (13.4, 10.6))
    _lines(painter, (5.0, 4.2), (5.0, 12.6))
    _lines(painter, (11.0, 4.2), (11.0, 12.6))


# --- glyphs ---------------------------------------------------------------------------------------------------------


def _copy(painter: QPainter, colour: QColor) -> None:
    _pen(painter, colour, 1.3)
    painter.drawRoundedRect(QRectF(5.5, 5.5, 8, 8.5), 1.5, 1.5)
    _lines(painter, (3.6, 10.5), (2.5, 10.5), (2.5, 2.2), (10.3, 2.2), (10.3, 3.4))


def _eye(painter: QPainter, colour: QColor) -> None:
    _pen(painter, colour, 1.3)
    lid = QPainterPath(QPointF(1.5, 8))
    lid.quadTo(QPointF(8, 0.8), QPointF(14.5, 8))
    lid.quadTo(QPointF(8, 15.2), QPointF(1.5, 8))
    painter.drawPath(lid)
    painter.drawEllipse(QPointF(8, 8), 2.1, 2.1)


def _play(painter: QPainter, colour: QColor) -> None:
    painter.setPen(QPen(colour, 1.4, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin))
    painter.setBrush(QBrush(colour))
    painter.drawPolygon(QPolygonF([QPointF(4.5, 3), QPointF(13, 8), QPointF(4.5, 13)]))


def _stop(painter: QPainter, colour: QColor) -> None:
    _fill(painter, colour)
    painter.drawRoundedRect(QRectF(3.5, 3.5, 9, 9), 1.5, 1.5)


def _picture(painter: QPainter, colour: QColor) -> None:
    _pen(painter, colour, 1.3)
    painter.drawRoundedRect(QRectF(1.8, 2.8, 12.4, 10.4), 1.8, 1.8)
    _lines(painter, (2.4, 11.4), (6, 7.6), (9, 10.6), (10.8, 8.8), (13.6, 11.4))
    painter.drawEllipse(QPointF(10.7, 5.9), 1, 1)


def _mark(painter: QPainter, colour: QColor, draw: Callable[[QPainter], None]) -> None:
    """A check's outcome: a ring with a sign in it."""
    _pen(painter, colour, 1.4)
    painter.drawEllipse(QRectF(1.5, 1.5, 13, 13))
    draw(painter)


def _passed(painter: QPainter, colour: QColor) -> None:
    _mark(painter, colour, lambda p: _lines(p, (5, 8.2), (7.2, 10.4), (11, 6)))


def _failed(painter: QPainter, colour: QColor) -> None:
    def cross(p: QPainter) -> None:
        _lines(p, (5.7, 5.7), (10.3, 10.3))
        _lines(p, (10.3, 5.7), (5.7, 10.3))

    _mark(painter, colour, cross)


def _unknown(painter: QPainter, colour: QColor) -> None:
    def question(p: QPainter) -> None:
        hook = QPainterPath(QPointF(6.1, 6.5))
        hook.cubicTo(QPointF(6.1, 3.6), QPointF(10, 3.8), QPointF(9.9, 6.4))
        hook.cubicTo(QPointF(9.8, 7.8), QPointF(8, 7.8), QPointF(8, 9.3))
        p.drawPath(hook)
        p.drawPoint(QPointF(8, 11.6))

    _mark(painter, colour, question)


def _skipped(painter: QPainter, colour: QColor) -> None:
    _mark(painter, colour, lambda p: _lines(p, (5.5, 8), (10.5, 8)))


def _warning(painter: QPainter, colour: QColor) -> None:
    _pen(painter, colour, 1.4)
    painter.drawPolygon(QPolygonF([QPointF(8, 1.8), QPointF(14.8, 13.8), QPointF(1.2, 13.8)]))
    _lines(painter, (8, 6.2), (8, 9.4))
    painter.drawPoint(QPointF(8, 11.6))


def _hint(painter: QPainter, colour: QColor) -> None:
    def letter(p: QPainter) -> None:
        p.drawPoint(QPointF(8, 5))
        _lines(p, (8, 7.6), (8, 11.2))

    _mark(painter, colour, letter)


_GLYPHS: dict[str, Drawing] = {
    "copy": _copy,
    "eye": _eye,
    "play": _play,
    "stop": _stop,
    "picture": _picture,
    "passed": _passed,
    "failed": _failed,
    "unknown": _unknown,
    "skipped": _skipped,
    "warning": _warning,
    "hint": _hint,
}

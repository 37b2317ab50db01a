"""The pictures of the programs and the installer, drawn by the product's own code when a build needs it.

`python -m tools.build_icon FOLDER`, in an environment with Qt. Drawn at build time and not kept as a file: the shape
has one owner, `ui/icons.py`, and a picture in the repository would be its second copy.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from pathlib import Path

SIZES = (16, 20, 24, 32, 40, 48, 64, 128, 256)
"""What the shell shows at 100 % to 300 %: lists 16, tasks 24, desktop 48, tiles 256."""


PNG_FROM = 128
"""Smaller pictures are plain bitmaps: not every reader of an icon takes a small PNG."""
SIDEBAR = (191, 362)
"""Pixels at 100 %: 109 x 193 dialog units in Segoe UI 9. Larger scales stretch it; shrinking would leave streaks."""


def ico(pictures: Sequence[tuple[int, bytes]]) -> bytes:
    """An icon file.

    Args:
        pictures: pixels on each side, and what `bitmap` makes or PNG bytes.

    Source of the layout: Microsoft, ICONDIR and ICONDIRENTRY (a side of 256 is written as 0).
    """
    head = struct.pack("<HHH", 0, 1, len(pictures))
    place = len(head) + 16 * len(pictures)
    entries, bodies = b"", b""
    for side, body in pictures:
        entries += struct.pack("<BBBBHHII", side % 256, side % 256, 0, 0, 1, 32, len(body), place + len(bodies))
        bodies += body
    return head + entries + bodies


def bitmap(side: int, bgra: bytes) -> bytes:
    """A picture as it is inside an icon: 32 bits with alpha, from the lowest line up, then a mask that hides nothing.

    Args:
        bgra: four bytes for each pixel, from the highest line down.
    """
    lines = [bgra[start : start + side * 4] for start in range(0, len(bgra), side * 4)]
    mask = bytes((side + 31) // 32 * 4 * side)
    size = side * side * 4 + len(mask)
    return struct.pack("<IiiHHIIiiII", 40, side, side * 2, 1, 32, 0, size, 0, 0, 0, 0) + b"".join(lines[::-1]) + mask


def main() -> int:
    """Write `kotaro-bridge.ico`, `kotaro-bridge.png` and `sidebar.bmp` into a folder."""
    from PySide6.QtGui import QGuiApplication

    app = QGuiApplication(["build_icon", "-platform", "offscreen"])
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [(side, _png(side) if side >= PNG_FROM else bitmap(side, _bgra(side))) for side in SIZES]
    (folder / "kotaro-bridge.ico").write_bytes(ico(pictures))
    (folder / "kotaro-bridge.png").write_bytes(_png(256))
    _write_sidebar(folder / "sidebar.bmp")
    app.quit()
    return 0


def _png(side: int) -> bytes:
    from PySide6.QtCore import QBuffer, QByteArray, QIODevice

    from kotaro_bridge.ui.icons import app_pixmap

    data = QByteArray()
    buffer = QBuffer(data)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    app_pixmap(side).save(buffer, "PNG")
    return bytes(data.data())


def _bgra(side: int) -> bytes:
    from PySide6.QtGui import QImage

    from kotaro_bridge.ui.icons import app_pixmap

    return bytes(app_pixmap(side).toImage().convertToFormat(QImage.Format.Format_ARGB32).constBits())


def _write_sidebar(path: Path) -> None:
    """The picture beside the first and the last page: the bridge on a dark ground."""
    from PySide6.QtCore import QPointF
    from PySide6.QtGui import QColor, QImage, QLinearGradient, QPainter

    from kotaro_bridge.ui.icons import app_pixmap

    width, height = SIDEBAR
    image = QImage(width, height, QImage.Format.Format_RGB888)
    painter = QPainter(image)
    ground = QLinearGradient(QPointF(0, 0), QPointF(width, height))
    ground.setColorAt(0, QColor("#2b313b"))
    ground.setColorAt(1, QColor("#14171c"))
    painter.fillRect(image.rect(), ground)
    side = width // 2
    painter.drawPixmap((width - side) // 2, height // 4, app_pixmap(side))
    painter.end()
    image.save(str(path), "BMP")  # type: ignore[call-overload]  # its stubs know bytes alone


if __name__ == "__main__":
    sys.exit(main())

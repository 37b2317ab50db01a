"""The smallest tray program with PySide6: the measure of what the product's start and memory are compared with."""

from __future__ import annotations

import signal
import sys

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QIcon, QPainter, QPixmap
from PySide6.QtWidgets import QApplication, QMenu, QSystemTrayIcon


def drawn_icon() -> QIcon:
    """A filled circle."""
    picture = QPixmap(32, 32)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(QColor("#2f7d4f"))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.drawEllipse(2, 2, 28, 28)
    painter.end()
    return QIcon(picture)


def main() -> int:
    """Show icon and menu until the process is ended."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    app = QApplication(sys.argv)
    app.setQuitOnLastWindowClosed(False)
    menu = QMenu()
    for words in ("Start", "Open", "Quit"):
        menu.addAction(words)
    tray = QSystemTrayIcon(drawn_icon())
    tray.setContextMenu(menu)
    tray.setToolTip("Bare tray")
    tray.show()
    return app.exec()


if __name__ == "__main__":
    sys.exit(main())

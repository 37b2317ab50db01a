"""What is wrong with a window as it is shown: texts without room, letters that lead to two places, nameless parts."""

from __future__ import annotations

from collections.abc import Iterator

from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QAbstractButton, QLabel, QLineEdit, QTabBar, QWidget

from kotaro_bridge.ui.widgets.basics import Elided


def cut_off(widget: QWidget) -> Iterator[str]:
    """Texts in a shown widget that have less room than they need."""
    for part in widget.findChildren(QWidget):
        if not part.isVisible() or part.visibleRegion().isEmpty():
            continue
        if isinstance(part, Elided):
            if part.fontMetrics().horizontalAdvance(part.text()) > part.width() + 1:
                yield f"shortened: {part.text()}"
        elif isinstance(part, QLabel) and part.text():
            need = part.heightForWidth(part.width()) if part.wordWrap() else part.sizeHint().height()
            wide = 0 if part.wordWrap() else part.sizeHint().width()
            if wide > part.width() + 1 or need > part.height() + 1:
                yield f"label: {part.text()}"
        elif isinstance(part, QAbstractButton) and part.text():
            if part.sizeHint().width() > part.width() + 1 or part.sizeHint().height() > part.height() + 1:
                yield f"button: {part.text()}"
        elif isinstance(part, QLineEdit) and part.echoMode() is QLineEdit.EchoMode.Normal:
            shown = part.displayText() or part.placeholderText()
            if shown != part.toolTip() and part.fontMetrics().horizontalAdvance(shown) > part.width() - 8:
                yield f"field: {shown}"
        elif isinstance(part, QTabBar) and part.tabRect(part.count() - 1).right() > part.width():
            yield f"tabs: {[part.tabText(n) for n in range(part.count())]}"


def shared_keys(widget: QWidget) -> Iterator[str]:
    """Letters that would lead to more than one part of a shown window with Alt, and buttons that have no name."""
    places: dict[str, list[str]] = {}
    for part in widget.findChildren(QWidget):
        if not part.isVisibleTo(widget):
            continue
        captions = []
        if isinstance(part, QAbstractButton) or (isinstance(part, QLabel) and part.buddy() is not None):
            captions = [part.text()]
        elif isinstance(part, QTabBar):
            captions = [part.tabText(n) for n in range(part.count())]
        if isinstance(part, QAbstractButton) and not part.text() and not part.accessibleName():
            yield f"no name: {part.objectName() or part}"
        for caption in captions:
            if key := QKeySequence.mnemonic(caption).toString():
                places.setdefault(key, []).append(caption)
    yield from (f"{key}: {captions}" for key, captions in places.items() if len(captions) > 1)

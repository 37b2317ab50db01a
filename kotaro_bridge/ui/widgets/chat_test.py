"""The test that asks the model a real question over the address that clients use, and streams the answer.

Owns the worker that iterates the stream. It ends on its own when the window no longer wants it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from PySide6.QtCore import Signal, Slot
from PySide6.QtGui import QTextCursor
from PySide6.QtWidgets import QCheckBox, QPlainTextEdit, QVBoxLayout, QWidget

from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.run.run_view import Endpoint
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import ChatPiece, ConnectPort
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.view_models.status import rate_digits
from kotaro_bridge.ui.widgets.basics import GlyphButton, label, put, row, set_property

CUT_OFF = problem("connect.cut_off")
"""A stream that ends without its last piece."""

Submit = Callable[[Callable[[], None]], None]


class ChatTest(QWidget):
    """Emits `finished` with True after a whole answer and with False after an error."""

    finished = Signal(bool)

    def __init__(
        self,
        theme: Theme,
        texts: Texts,
        bridge: Bridge,
        connect: ConnectPort,
        submit: Submit,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._texts = texts
        self._bridge = bridge
        self._connect = connect
        self._submit = submit
        self._endpoint: Endpoint | None = None
        self._cancel: threading.Event | None = None
        self.button = GlyphButton(theme, "play", texts.text("ui.test.run"))
        self.button.clicked.connect(self.toggle)
        self.with_image = QCheckBox(texts.text("ui.test.with_image"))
        self.with_image.setVisible(False)
        self.result = label(role="small", wrap=True)
        self.answer = QPlainTextEdit()
        self.answer.setReadOnly(True)
        self.answer.setMaximumBlockCount(500)
        self.answer.setMinimumHeight(40)
        self.answer.setPlaceholderText(texts.text("ui.test.placeholder"))
        self.answer.setAccessibleName(texts.text("ui.test.answer"))
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, UNIT, 0, 0)
        whole.setSpacing(UNIT)
        whole.addLayout(row(self.button, self.with_image, 1))
        whole.addWidget(self.answer, 1)
        whole.addWidget(self.result)
        self.set_endpoint(None)

    @property
    def running(self) -> bool:
        """True while an answer is awaited."""
        return self._cancel is not None

    def set_endpoint(self, endpoint: Endpoint | None) -> None:
        """Test this address; None ends a test that runs."""
        if endpoint is None and self.running:
            self.cancel()
        if endpoint is not None and (self._endpoint is None or endpoint.model != self._endpoint.model):
            self.with_image.setChecked(endpoint.images)
        self._endpoint = endpoint
        self.button.setEnabled(endpoint is not None)
        self.with_image.setVisible(endpoint is not None and endpoint.images)

    def clear(self) -> None:
        """Forget the answer: another model is shown now."""
        self.cancel()
        self.answer.clear()
        put(self.result, "")

    @Slot()
    def toggle(self) -> None:
        """Start a test, or end the one that runs."""
        if self.running:
            self.cancel()
        elif self._endpoint is not None:
            self._start(self._endpoint)

    def cancel(self) -> None:
        """End the running test; what the answer says from now on is not shown."""
        if self._cancel is not None:
            self._cancel.set()
            self._cancel = None
            put(self.result, self._texts.text("ui.test.cancelled"))
            self._show_button()

    def _start(self, endpoint: Endpoint) -> None:
        cancel = threading.Event()
        self._cancel = cancel
        self.answer.clear()
        set_property(self.result, "tone", "")
        put(self.result, self._texts.text("ui.test.waiting"))
        self._show_button()
        with_image = endpoint.images and self.with_image.isChecked()
        self._submit(lambda: self._stream(endpoint, with_image, cancel))

    def _stream(self, endpoint: Endpoint, with_image: bool, cancel: threading.Event) -> None:
        """On a worker thread: pass on each piece until the end or the cancel."""
        try:
            for piece in self._connect.test_chat(endpoint, with_image=with_image):
                if cancel.is_set():
                    return
                self._bridge.post(lambda piece=piece: self._on_piece(piece, cancel))  # type: ignore[misc]
        except ProblemError as error:
            why = error.problem
            self._bridge.post(lambda: self._on_error(why, cancel))
        else:
            self._bridge.post(lambda: self._on_error(CUT_OFF, cancel))

    def _on_piece(self, piece: ChatPiece, cancel: threading.Event) -> None:
        if cancel is not self._cancel:
            return
        if piece.text:
            put(self.result, self._texts.text("ui.test.answering"))
            cursor = QTextCursor(self.answer.document())
            cursor.movePosition(QTextCursor.MoveOperation.End)
            cursor.insertText(piece.text)
            self.answer.verticalScrollBar().setValue(self.answer.verticalScrollBar().maximum())
        if piece.done:
            self._cancel = None
            set_property(self.result, "tone", "good")
            put(self.result, self._numbers(piece))
            self._show_button()
            self.finished.emit(True)

    def _numbers(self, piece: ChatPiece) -> str:
        parts = [self._texts.text("ui.test.ok")]
        if piece.tokens_per_s is not None:
            parts.append(self._texts.text("ui.rate", rate=rate_digits(piece.tokens_per_s)))
        if piece.first_token_s is not None:
            parts.append(self._texts.text("ui.test.first_token", seconds=f"{piece.first_token_s:.2f}"))
        return " · ".join(parts)

    def _on_error(self, why: Problem, cancel: threading.Event) -> None:
        if cancel is not self._cancel:
            return
        self._cancel = None
        message = self._texts.message(why)
        set_property(self.result, "tone", "bad")
        put(self.result, f"{message.what} {message.do}".strip())
        self._show_button()
        self.finished.emit(False)

    def _show_button(self) -> None:
        put(self.button, self._texts.text("ui.test.cancel" if self.running else "ui.test.run"))
        self.button.set_glyph("stop" if self.running else "play")

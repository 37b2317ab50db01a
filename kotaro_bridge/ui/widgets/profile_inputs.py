"""The inputs of a profile's fields. Each shows a text and hands out what a person makes of it; they judge nothing."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QColor, QFontMetrics, QKeyEvent, QSyntaxHighlighter, QTextCharFormat
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from kotaro_bridge.domain.engine.arguments import forbidden_reason
from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.theme import UNIT, Theme, mono_font
from kotaro_bridge.ui.widgets.basics import button, label, plain
from kotaro_bridge.ui.widgets.scroll import calm

NUMBER_WIDTH = 104
STEP = 256
"""Tokens of one step of the slider: llama-server rounds a context up to it (reference llama-server §7)."""
USUAL_LIMIT = 32768
"""Where the slider ends while it is not known what the model was made for."""


class FieldInput(QWidget):
    """Emits `edited` with whatever a person changes. `stops` is what Tab stops at, in order."""

    edited = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.stops: list[QWidget] = []
        self.line = QHBoxLayout(self)
        self.line.setContentsMargins(0, 0, 0, 0)
        self.line.setSpacing(UNIT)

    def text(self) -> str:
        """What stands there now."""
        raise NotImplementedError

    def put(self, text: str) -> None:
        """Show a text; `edited` is not emitted."""
        raise NotImplementedError

    def name(self, name: str, description: str) -> None:
        """Say to screen readers what it is."""
        for stop in self.stops:
            does = f"{plain(stop.text()).rstrip('…')}: " if isinstance(stop, QPushButton) else ""
            stop.setAccessibleName(stop.accessibleName() or f"{does}{name}")
            stop.setAccessibleDescription(description)


class LineInput(FieldInput):
    """One line of text, or a number."""

    def __init__(self, *, number: bool = False) -> None:
        super().__init__()
        self.field = QLineEdit()
        if number:
            self.field.setFixedWidth(NUMBER_WIDTH)
            self.field.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.field.textEdited.connect(lambda _text: self.edited.emit())
        self.field.textChanged.connect(self.field.setToolTip)  # a path may be longer than any field
        self.setFocusProxy(self.field)
        self.line.addWidget(self.field)
        if number:
            self.line.addStretch(1)
        self.stops.append(self.field)

    def text(self) -> str:
        """See `FieldInput.text`."""
        return self.field.text()

    def put(self, text: str) -> None:
        """See `FieldInput.put`."""
        if text != self.field.text():
            self.field.setText(text)
            self.field.setCursorPosition(0)


class ModelInput(LineInput):
    """A path or a name, and a button that offers models. Emits `choosing` when it is pressed."""

    choosing = Signal()

    def __init__(self, texts: Texts) -> None:
        super().__init__()
        self.choose = button(texts.text("ui.editor.choose"))
        self.choose.clicked.connect(self.choosing)
        self.line.addWidget(self.choose)
        self.stops.append(self.choose)


class ChoiceInput(FieldInput):
    """One of some words."""

    def __init__(self, words: Sequence[tuple[str, str]] = ()) -> None:
        """Args: words: each with its caption."""
        super().__init__()
        self.field = QComboBox()
        self.field.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        calm(self.field)
        self.field.activated.connect(lambda _index: self.edited.emit())
        self.setFocusProxy(self.field)
        self.line.addWidget(self.field)
        self.line.addStretch(1)
        self.stops.append(self.field)
        self.offer(words)

    def offer(self, words: Sequence[tuple[str, str]]) -> None:
        """Offer other words; what is chosen stays chosen."""
        chosen = self.field.currentData()
        self.field.clear()
        for word, caption in words:
            self.field.addItem(caption, word)
        if chosen is not None:
            self.put(chosen)

    def text(self) -> str:
        """See `FieldInput.text`."""
        return str(self.field.currentData())

    def put(self, text: str) -> None:
        """See `FieldInput.put`; a word that is not offered is shown as it is."""
        place = self.field.findData(text)
        if place < 0:
            self.field.addItem(text, text)
            place = self.field.count() - 1
        self.field.setCurrentIndex(place)


class SwitchInput(FieldInput):
    """Yes or no."""

    def __init__(self, caption: str) -> None:
        super().__init__()
        self.box = QCheckBox(caption)
        self.box.clicked.connect(lambda _on: self.edited.emit())
        self.setFocusProxy(self.box)
        self.line.addWidget(self.box)
        self.line.addStretch(1)
        self.stops.append(self.box)

    def text(self) -> str:
        """See `FieldInput.text`."""
        return str(self.box.isChecked()).lower()

    def put(self, text: str) -> None:
        """See `FieldInput.put`."""
        self.box.setChecked(text == "true")


class CardsInput(FieldInput):
    """A box for each graphics card; those that the profile names and this PC does not have are there too."""

    def __init__(self, texts: Texts) -> None:
        super().__init__()
        self._texts = texts
        self._names: dict[int, str] = {}
        self._chosen: list[int] = []
        self._column = QVBoxLayout()
        self._column.setSpacing(2)
        self.line.addLayout(self._column)
        self.line.addStretch(1)
        self.boxes: dict[int, QCheckBox] = {}

    def offer(self, names: dict[int, str]) -> None:
        """The cards of this PC, by index."""
        if names != self._names:
            self._names = names
            self._build()

    def text(self) -> str:
        """See `FieldInput.text`."""
        return ",".join(str(index) for index in self._chosen)

    def put(self, text: str) -> None:
        """See `FieldInput.put`."""
        self._chosen = [int(part) for part in text.split(",") if part.strip().isdecimal()]
        self._build()

    def _build(self) -> None:
        for old in self.boxes.values():
            self._column.removeWidget(old)
            old.hide()
            old.deleteLater()
        self.boxes, self.stops = {}, []
        for index in sorted({*self._names, *self._chosen}):
            name = self._names.get(index, "?")
            box = self.boxes[index] = QCheckBox(self._texts.text("ui.editor.card", index=index, name=name))
            box.setChecked(index in self._chosen)
            box.clicked.connect(self._on_clicked)
            self._column.addWidget(box)
            self.stops.append(box)

    @Slot()
    def _on_clicked(self) -> None:
        self._chosen = [index for index, box in self.boxes.items() if box.isChecked()]
        self.edited.emit()


class ContextInput(FieldInput):
    """A slider with a number. Emits `dragged` instead of `edited` while the slider moves."""

    dragged = Signal()

    def __init__(self, texts: Texts) -> None:
        super().__init__()
        self._texts = texts
        self._longest = 0
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setSingleStep(1)
        self.slider.setPageStep(2048 // STEP)
        calm(self.slider)
        self.field = QLineEdit()
        self.field.setFixedWidth(NUMBER_WIDTH - 3 * UNIT)
        self.field.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.set_limit(None)
        self.slider.valueChanged.connect(self._on_slider)
        self.slider.sliderReleased.connect(self.edited)
        self.field.textEdited.connect(self._on_typed)
        self.setFocusProxy(self.slider)
        self.line.addWidget(self.slider, 1)
        self.line.addWidget(self.field)
        self.line.addWidget(label(texts.text("ui.editor.tokens"), "muted"))
        self.stops += [self.slider, self.field]

    def set_limit(self, tokens: int | None) -> None:
        """Let the slider end where the model does."""
        steps = max(2, (tokens or USUAL_LIMIT) // STEP)
        if (self.slider.minimum(), self.slider.maximum()) != (1, steps):
            self.slider.blockSignals(True)
            self.slider.setRange(1, steps)
            self.slider.blockSignals(False)
            self._follow()

    def text(self) -> str:
        """See `FieldInput.text`."""
        return self.field.text()

    def put(self, text: str) -> None:
        """See `FieldInput.put`."""
        if text != self.field.text():
            self.field.setText(text)
        self._follow()

    def _follow(self) -> None:
        """The slider stands where the number says, as far as it goes."""
        text = self.field.text().strip()
        if text.isdecimal():
            self.slider.blockSignals(True)
            self.slider.setValue(min(int(text[:12]) // STEP, self.slider.maximum()))
            self.slider.blockSignals(False)

    @Slot(int)
    def _on_slider(self, steps: int) -> None:
        put_line(self.field, str(steps * STEP))
        # Keys and clicks beside the handle are done with one step; a drag ends when the handle is let go.
        self.dragged.emit() if self.slider.isSliderDown() else self.edited.emit()

    @Slot()
    def _on_typed(self) -> None:
        self._follow()
        self.edited.emit()


def put_line(field: QLineEdit, text: str) -> None:
    """Set a text only where it differs."""
    if field.text() != text:
        field.setText(text)


class ArgumentsInput(FieldInput):
    """Extra arguments over two lines; those that are refused are marked as they are typed."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.field = _Lines()
        self.field.setFont(mono_font())
        self.field.setFixedHeight(2 * QFontMetrics(mono_font()).lineSpacing() + 2 * UNIT + 4)
        self.marks = _Marks(theme, self.field)
        self.field.textChanged.connect(self._on_changed)
        self._shown = ""
        self.setFocusProxy(self.field)
        self.line.addWidget(self.field)
        self.stops.append(self.field)

    def set_engine(self, engine: Engine) -> None:
        """Whose arguments they are."""
        if self.marks.engine is not engine:
            self.marks.engine = engine
            self.marks.rehighlight()

    def mark(self, words: frozenset[str]) -> None:
        """Mark these words too."""
        if words != self.marks.words:
            self.marks.words = words
            self.marks.rehighlight()

    def text(self) -> str:
        """See `FieldInput.text`."""
        return " ".join(self.field.toPlainText().splitlines())

    def put(self, text: str) -> None:
        """See `FieldInput.put`."""
        if text != self.text():
            self._shown = text
            self.field.setPlainText(text)

    @Slot()
    def _on_changed(self) -> None:
        if self.text() != self._shown:  # a mark that is drawn is a change too
            self._shown = self.text()
            self.edited.emit()


class _Lines(QPlainTextEdit):
    """Tab leaves it, and Enter begins no line that would count."""

    def __init__(self) -> None:
        super().__init__()
        self.setTabChangesFocus(True)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter does nothing."""
        if event.key() not in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            super().keyPressEvent(event)


class _Marks(QSyntaxHighlighter):
    """Underlines what is refused, by name as soon as the name is whole."""

    def __init__(self, theme: Theme, field: QPlainTextEdit) -> None:
        super().__init__(field.document())
        self._theme = theme
        self.engine = Engine.LLAMA_SERVER
        self.words: frozenset[str] = frozenset()
        theme.changed.connect(self.rehighlight)

    def highlightBlock(self, text: str) -> None:
        """Mark the words of a line."""
        style = QTextCharFormat()
        style.setForeground(QColor(self._theme.tokens.bad))
        style.setUnderlineStyle(QTextCharFormat.UnderlineStyle.WaveUnderline)
        style.setUnderlineColor(QColor(self._theme.tokens.bad))
        start = 0
        for word in text.split():
            start = text.index(word, start)
            if word in self.words or forbidden_reason(self.engine, word) is not None:
                self.setFormat(start, len(word), style)
            start += len(word)

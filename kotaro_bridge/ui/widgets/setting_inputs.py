"""The inputs of settings, one for each type of value. Each hands out what a person types as text, "" for the default.

They judge nothing: `Editor.set` does.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QTimer, Signal, Slot
from PySide6.QtWidgets import QButtonGroup, QComboBox, QFileDialog, QHBoxLayout, QLineEdit, QPushButton, QWidget

from kotaro_bridge.domain.units import wsl_size
from kotaro_bridge.domain.wsl.wslconfig_keys import ENUM_WORDS, KEY_TYPES, KeyType
from kotaro_bridge.domain.wsl.wslconfig_values import Value
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.theme import UNIT
from kotaro_bridge.ui.view_models.wslconfig import (
    FOLDERS,
    UNITS,
    same_value,
    setting_unit,
    split_size,
    typed_text,
)
from kotaro_bridge.ui.widgets.basics import button, label
from kotaro_bridge.ui.widgets.scroll import calm

TYPING_MS = 250
"""A pause in typing after which a text counts as typed."""
WIDTH = 264


class SettingInput(QWidget):
    """Emits `edited` with the text once a person has made up their mind, "" for the default.

    `stops` is what Tab stops at, in order.
    """

    edited = Signal(str)

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key
        self.stops: list[QWidget] = []
        self.setFixedWidth(WIDTH)
        self.line = QHBoxLayout(self)
        self.line.setContentsMargins(0, 0, 0, 0)
        self.line.setSpacing(UNIT // 2)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(TYPING_MS)
        self._timer.timeout.connect(self._send)

    def text(self) -> str:
        """What stands there now."""
        raise NotImplementedError

    def put(self, value: Value | None) -> None:
        """Show a value; None for the default."""
        raise NotImplementedError

    def show_default(self, default: Value | None) -> None:
        """Show what an empty input stands for, which may follow other settings; None where that is not known."""

    def show_value(self, value: Value | None) -> None:
        """Show a value, unless what stands there means the same or is still being typed."""
        if not self._timer.isActive() and not same_value(self.key, self.text(), value):
            self.put(value)

    def flush(self) -> None:
        """Hand out what was typed, now."""
        if self._timer.isActive():
            self._send()

    @Slot()
    def _send(self) -> None:
        self._timer.stop()
        self.edited.emit(self.text())

    def _typing(self, field: QLineEdit) -> None:
        field.textEdited.connect(lambda _text: self._timer.start())
        field.editingFinished.connect(self.flush)


class TextInput(SettingInput):
    """Numbers and texts; for paths with a button that opens the file dialog."""

    def __init__(self, texts: Texts, key: str, default: Value | None) -> None:
        super().__init__(key)
        self._texts = texts
        self.field = QLineEdit()
        self.show_default(default)
        self._typing(self.field)
        self.setFocusProxy(self.field)
        self.line.addWidget(self.field, 1)
        self.stops.append(self.field)
        unit = setting_unit(texts, key)
        if unit:
            self.line.addWidget(label(unit, "muted"))
        if KEY_TYPES[key] is KeyType.PATH:
            browse = button(texts.text("ui.wslconfig.browse"))
            browse.clicked.connect(self._browse)
            self.line.addWidget(browse)
            self.stops.append(browse)

    def text(self) -> str:
        """See `SettingInput.text`."""
        return self.field.text().strip()

    def put(self, value: Value | None) -> None:
        """See `SettingInput.put`."""
        self.field.setText("" if value is None else typed_text(self.key, value))
        self.field.setCursorPosition(0)

    def show_default(self, default: Value | None) -> None:
        """See `SettingInput.show_default`."""
        self.field.setPlaceholderText("" if default is None else typed_text(self.key, default))

    @Slot()
    def _browse(self) -> None:
        title = self._texts.text(f"wslconfig.key.{self.key.partition('.')[2]}.name")
        if self.key in FOLDERS:
            chosen = QFileDialog.getExistingDirectory(self, title, self.text())
        else:
            chosen, _ = QFileDialog.getOpenFileName(self, title, self.text())
        if chosen:
            self.field.setText(chosen.replace("/", "\\"))
            self._send()


class SizeInput(SettingInput):
    """A number with its unit."""

    def __init__(self, texts: Texts, key: str, default: Value | None) -> None:
        super().__init__(key)
        self.field = QLineEdit()
        self.unit = QComboBox()
        self.unit.addItems(list(UNITS))  # GB is the first
        self.show_default(default)
        self.unit.setAccessibleName(texts.text("ui.wslconfig.unit"))
        calm(self.unit)
        self._typing(self.field)
        self.unit.activated.connect(self._on_unit)
        self.setFocusProxy(self.field)
        self.line.addWidget(self.field, 1)
        self.line.addWidget(self.unit)
        self.stops += [self.field, self.unit]

    def text(self) -> str:
        """See `SettingInput.text`; a number with a unit of its own is taken as it is."""
        number = self.field.text().strip()
        if not number or not number[-1].isdigit():
            return number
        return number if number == "0" else number + self.unit.currentText()

    def put(self, value: Value | None) -> None:
        """See `SettingInput.put`."""
        if isinstance(value, int) and value:
            number, unit = split_size(value)
            self.field.setText(number)
            self.unit.setCurrentText(unit)
        else:
            self.field.setText("" if value is None else "0")

    def show_default(self, default: Value | None) -> None:
        """See `SettingInput.show_default`."""
        number, unit = wsl_size(default) if isinstance(default, int) and default else ("", "GB")
        if number != self.field.placeholderText():  # a unit that a person chose for what is to be typed stays
            self.field.setPlaceholderText(number)
            if not self.field.text():
                self.unit.setCurrentText(unit)

    @Slot()
    def _on_unit(self) -> None:
        if self.field.text().strip():
            self._send()


class SwitchInput(SettingInput):
    """Default, on, off: three buttons side by side, of which one is pressed."""

    def __init__(self, texts: Texts, key: str, default: Value | None) -> None:
        super().__init__(key)
        self._group = QButtonGroup(self)
        self.buttons: dict[str, QPushButton] = {}
        by_default = "ui.wslconfig.default_word"
        if isinstance(default, bool):
            by_default = "ui.wslconfig.default_on" if default else "ui.wslconfig.default_off"
        self.line.addStretch(1)
        for word, caption in (("", by_default), ("true", "ui.wslconfig.on"), ("false", "ui.wslconfig.off")):
            made = button(texts.text(caption), "segment")
            made.setCheckable(True)
            made.clicked.connect(self._chooser(word))
            self._group.addButton(made)
            self.buttons[word] = made
            self.line.addWidget(made)
            self.stops.append(made)
        self.put(None)

    def text(self) -> str:
        """See `SettingInput.text`."""
        return next(word for word, made in self.buttons.items() if made.isChecked())

    def put(self, value: Value | None) -> None:
        """See `SettingInput.put`."""
        word = "" if value is None else str(value).lower()
        self.buttons[word].setChecked(True)
        self.setFocusProxy(self.buttons[word])

    def _chooser(self, word: str) -> Callable[[], None]:
        def choose() -> None:
            self.setFocusProxy(self.buttons[word])
            self._send()

        return choose


class ChoiceInput(SettingInput):
    """One of some words."""

    def __init__(self, texts: Texts, key: str, default: Value | None) -> None:
        super().__init__(key)
        self.field = QComboBox()
        by_default = texts.text("ui.wslconfig.default_is", value=str(default))
        self.field.addItem(by_default, "")
        for word in ENUM_WORDS[key]:
            self.field.addItem(texts.text(f"ui.wslconfig.word.{word}"), word)
        calm(self.field)
        self.field.activated.connect(lambda _index: self._send())
        self.setFocusProxy(self.field)
        self.line.addWidget(self.field, 1)
        self.stops.append(self.field)

    def text(self) -> str:
        """See `SettingInput.text`."""
        return str(self.field.currentData())

    def put(self, value: Value | None) -> None:
        """See `SettingInput.put`."""
        self.field.setCurrentIndex(self.field.findData("" if value is None else value))


def make_input(texts: Texts, key: str, default: Value | None) -> SettingInput:
    """The input that fits the type of a key."""
    match KEY_TYPES[key]:
        case KeyType.SIZE:
            return SizeInput(texts, key, default)
        case KeyType.BOOL:
            return SwitchInput(texts, key, default)
        case KeyType.ENUM:
            return ChoiceInput(texts, key, default)
        case _:
            return TextInput(texts, key, default)

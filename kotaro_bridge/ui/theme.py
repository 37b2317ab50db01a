"""Colours, type and spacing of the windows, light and dark.

Owns every colour that is drawn. Follows the system's scheme unless one is forced. The series colours follow Okabe
and Ito: people with any kind of colour blindness tell them apart; lines of a graph also differ in style.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from PySide6.QtCore import QObject, Qt, Signal, Slot
from PySide6.QtGui import QColor, QFont, QPalette
from PySide6.QtWidgets import QApplication

from kotaro_bridge.ui.view_models.look import Look


@dataclass(frozen=True, slots=True)
class Tokens:
    """The colours of one scheme, as `#rrggbb`."""

    dark: bool
    window: str
    side: str
    card: str
    line: str
    field: str
    text: str
    muted: str
    accent: str
    accent_hover: str
    on_accent: str
    hover: str
    selected: str
    good: str
    warn: str
    bad: str
    good_back: str
    warn_back: str
    bad_back: str
    series: tuple[str, str, str, str]
    track: str
    other: str
    box: str


LIGHT = Tokens(
    dark=False,
    window="#f3f4f6",
    side="#eaecef",
    card="#ffffff",
    line="#dfe2e6",
    field="#f8f9fa",
    text="#1b1c1f",
    muted="#5c6069",
    accent="#0b62b8",
    accent_hover="#0a559f",
    on_accent="#ffffff",
    hover="#e1e4e9",
    selected="#dbe6f3",
    good="#0e7a3b",
    warn="#8f5400",
    bad="#b3261e",
    good_back="#e3f4e9",
    warn_back="#fdf0d9",
    bad_back="#fde8e6",
    series=("#0072b2", "#c96b00", "#008060", "#a8487f"),
    track="#e4e7eb",
    other="#9aa1ab",
    box="#dfe2e6",
)

DARK = Tokens(
    dark=True,
    window="#1b1c1f",
    side="#17181a",
    card="#26282c",
    line="#383b41",
    field="#1f2124",
    text="#f2f3f5",
    muted="#a6abb5",
    accent="#6cb4f5",
    accent_hover="#8ac4f8",
    on_accent="#0b1a29",
    hover="#2c2f34",
    selected="#2a3a4b",
    good="#6fd195",
    warn="#f0b95b",
    bad="#ff8f86",
    good_back="#1d3627",
    warn_back="#3b2e15",
    bad_back="#452320",
    series=("#56b4e9", "#f0a33a", "#2fc49b", "#dd8fbd"),
    track="#3a3d43",
    other="#7d838d",
    box="#b4bac4",
)

LOOK_COLOURS = {
    Look.IDLE: "#85888e",
    Look.WORKING: "#2b83dd",
    Look.READY: "#1f9a55",
    Look.ALERT: "#e0473c",
    Look.ATTENTION: "#c77400",
    Look.STOPPING: "#85888e",
}
"""One set for both schemes: a taskbar may be light while the windows are dark. Each keeps 3:1 against both."""

UNIT = 8
"""Pixels of one step of spacing."""


class Theme(QObject):
    """The scheme in use; `changed` is emitted after the palette was replaced."""

    changed = Signal()

    def __init__(self, app: QApplication, forced: str | None = None, parent: QObject | None = None) -> None:
        """Args: forced: `light`, `dark` or None to follow the system."""
        super().__init__(parent)
        self._app = app
        self._forced = forced
        self.tokens = LIGHT
        app.setStyle("Fusion")
        app.setFont(base_font(app.font()))
        self._apply()
        app.styleHints().colorSchemeChanged.connect(self._follow)

    def force(self, scheme: str | None) -> None:
        """Use `light` or `dark` whatever the system says; None follows it again."""
        self._forced = scheme
        self._apply()
        self.changed.emit()

    @Slot()
    def _follow(self) -> None:
        if self._forced is None:
            self._apply()
            self.changed.emit()

    def _apply(self) -> None:
        system_dark = self._app.styleHints().colorScheme() is Qt.ColorScheme.Dark
        self.tokens = DARK if self._forced == "dark" or (self._forced is None and system_dark) else LIGHT
        palette = palette_of(self.tokens)
        self._app.setPalette(palette)
        # Fusion draws the frame of a box in a shade of the window's colour, which cannot be seen where that is dark.
        palette.setColor(QPalette.ColorRole.Window, QColor(self.tokens.box))
        self._app.setPalette(palette, "QCheckBox")  # type: ignore[arg-type]  # const char*: PySide takes a str

    def tone(self, look: Look) -> str:
        """Text colour that goes with a state."""
        t = self.tokens
        tones = {Look.READY: t.good, Look.ALERT: t.bad, Look.ATTENTION: t.warn, Look.WORKING: t.accent}
        return tones.get(look, t.muted)


def base_font(system: QFont) -> QFont:
    """Windows has a good font for its language (Segoe UI, Yu Gothic UI); elsewhere the first that is there."""
    font = QFont(system)
    if sys.platform != "win32":
        font.setFamilies(["Open Sans", "Noto Sans", "DejaVu Sans", "Noto Sans CJK JP", "IPAPGothic"])
    font.setPointSizeF(9.75)
    return font


def mono_font() -> QFont:
    """For logs and addresses."""
    font = QFont()
    font.setFamilies(["Cascadia Mono", "Consolas", "DejaVu Sans Mono", "IPAGothic", "monospace"])
    font.setStyleHint(QFont.StyleHint.Monospace)
    font.setPointSizeF(9)
    return font


def palette_of(t: Tokens) -> QPalette:
    """Qt's palette for a scheme, so that whatever the style sheet leaves alone fits too."""
    roles = {
        QPalette.ColorRole.Window: t.window,
        QPalette.ColorRole.WindowText: t.text,
        QPalette.ColorRole.Base: t.card,
        QPalette.ColorRole.AlternateBase: t.field,
        QPalette.ColorRole.Text: t.text,
        QPalette.ColorRole.Button: t.card,
        QPalette.ColorRole.ButtonText: t.text,
        QPalette.ColorRole.BrightText: t.bad,
        QPalette.ColorRole.Highlight: t.accent,
        QPalette.ColorRole.HighlightedText: t.on_accent,
        QPalette.ColorRole.ToolTipBase: t.card,
        QPalette.ColorRole.ToolTipText: t.text,
        QPalette.ColorRole.PlaceholderText: t.muted,
        QPalette.ColorRole.Link: t.accent,
        QPalette.ColorRole.Light: t.card,
        QPalette.ColorRole.Midlight: t.hover,
        QPalette.ColorRole.Mid: t.line,
        QPalette.ColorRole.Dark: t.line,
        QPalette.ColorRole.Shadow: t.line,
    }
    palette = QPalette()
    for role, colour in roles.items():
        palette.setColor(role, QColor(colour))
    for role in (QPalette.ColorRole.Text, QPalette.ColorRole.ButtonText, QPalette.ColorRole.WindowText):
        palette.setColor(QPalette.ColorGroup.Disabled, role, QColor(t.muted))
    return palette


def style_sheet(t: Tokens) -> str:
    """The style sheet of windows and dialogs (the tray needs none, and a start without it is faster)."""
    return f"""
* {{ outline: 0; }}
QWidget#Page, QMainWindow, QDialog {{ background: {t.window}; }}
QWidget#Side {{ background: {t.side}; border-right: 1px solid {t.line}; }}
QFrame#Card {{ background: {t.card}; border: 1px solid {t.line}; border-radius: 8px; }}
QFrame#Banner {{ border-radius: 6px; background: {t.field}; border: 1px solid {t.line}; }}
QFrame#Banner[tone="bad"] {{ background: {t.bad_back}; border-color: {t.bad}; }}
QFrame#Banner[tone="warn"] {{ background: {t.warn_back}; border-color: {t.warn}; }}
QFrame#Banner[tone="good"] {{ background: {t.good_back}; border-color: {t.good}; }}
QFrame#Setting[first="false"] {{ border-top: 1px solid {t.line}; }}
QLabel {{ background: transparent; }}
QLabel[role="title"] {{ font-size: 15pt; font-weight: 600; }}
QLabel[role="app"] {{ font-size: 11pt; font-weight: 600; }}
QLabel[role="head"] {{ font-size: 10.5pt; font-weight: 600; }}
QLabel[role="strong"] {{ font-weight: 600; }}
QLabel[role="big"] {{ font-size: 17pt; font-weight: 600; }}
QLabel[role="muted"] {{ color: {t.muted}; }}
QLabel[role="small"] {{ color: {t.muted}; font-size: 8.5pt; }}
QLabel[tone="good"] {{ color: {t.good}; }}
QLabel[tone="warn"] {{ color: {t.warn}; }}
QLabel[tone="bad"] {{ color: {t.bad}; }}
QLabel[tone="accent"] {{ color: {t.accent}; }}
QLabel#Chip {{ background: {t.warn_back}; color: {t.warn}; border: 1px solid {t.warn}; border-radius: 7px;
  padding: 1px 9px; font-size: 8.5pt; font-weight: 600; }}
QPushButton {{ background: {t.card}; border: 1px solid {t.line}; border-radius: 5px; padding: 5px 14px;
  min-height: 18px; }}
QPushButton:hover {{ background: {t.hover}; }}
QPushButton:pressed {{ background: {t.line}; }}
QPushButton:focus {{ border: 1px solid {t.accent}; }}
QPushButton:disabled {{ color: {t.muted}; background: {t.field}; }}
QPushButton[kind="primary"] {{ background: {t.accent}; color: {t.on_accent}; border-color: {t.accent};
  font-weight: 600; }}
QPushButton[kind="primary"]:hover {{ background: {t.accent_hover}; }}
QPushButton[kind="primary"]:focus {{ border: 2px solid {t.text}; padding: 4px 13px; }}
QPushButton[kind="primary"]:disabled {{ background: {t.track}; color: {t.muted}; border-color: {t.track}; }}
QPushButton[kind="quiet"] {{ background: transparent; border-color: transparent; color: {t.accent}; padding: 4px 8px; }}
QPushButton[kind="quiet"]:hover {{ background: {t.hover}; }}
QPushButton[kind="quiet"]:focus {{ border: 1px solid {t.accent}; }}
QPushButton[kind="quiet"]:disabled {{ color: {t.muted}; }}
QPushButton[align="left"] {{ text-align: left; }}
QPushButton[kind="segment"] {{ padding: 2px 10px; font-size: 8.5pt; min-height: 16px; color: {t.muted}; }}
QPushButton[kind="segment"]:checked {{ background: {t.selected}; color: {t.text}; border-color: {t.accent}; }}
QLineEdit, QPlainTextEdit {{ background: {t.field}; border: 1px solid {t.line}; border-radius: 5px; padding: 4px 6px;
  selection-background-color: {t.accent}; selection-color: {t.on_accent}; }}
QLineEdit:focus, QPlainTextEdit:focus {{ border-color: {t.accent}; }}
QCheckBox {{ spacing: 7px; padding: 2px; border: 1px solid transparent; border-radius: 4px; }}
QCheckBox:focus {{ border-color: {t.accent}; }}
QTabWidget::pane {{ border: 0; }}
QTabBar {{ background: transparent; }}
QTabBar::tab {{ background: transparent; color: {t.muted}; padding: 6px 4px; margin-right: 18px; border: 0;
  border-bottom: 2px solid transparent; }}
QTabBar::tab:selected {{ color: {t.text}; border-bottom: 2px solid {t.accent}; font-weight: 600; }}
QTabBar::tab:hover {{ color: {t.text}; }}
QTabBar::tab:focus {{ color: {t.accent}; }}
QListWidget, QTreeWidget {{ background: transparent; border: 0; }}
QListWidget#Rows::item {{ padding: 5px 8px; border-radius: 4px; color: {t.text}; }}
QListWidget#Rows::item:selected {{ background: {t.selected}; }}
QScrollArea, QScrollArea > QWidget > QWidget {{ background: transparent; border: 0; }}
QScrollBar:vertical {{ background: transparent; width: 10px; margin: 2px; }}
QScrollBar::handle:vertical {{ background: {t.other}; border-radius: 3px; min-height: 28px; }}
QScrollBar:horizontal {{ background: transparent; height: 10px; margin: 2px; }}
QScrollBar::handle:horizontal {{ background: {t.other}; border-radius: 3px; min-width: 28px; }}
QScrollBar::add-line, QScrollBar::sub-line, QScrollBar::add-page, QScrollBar::sub-page {{ background: none; border: 0;
  width: 0; height: 0; }}
QToolTip {{ background: {t.card}; color: {t.text}; border: 1px solid {t.line}; padding: 4px; }}
QMenu {{ background: {t.card}; color: {t.text}; border: 1px solid {t.line}; padding: 4px; }}
QMenu::item {{ padding: 5px 22px 5px 28px; border-radius: 4px; }}
QMenu::item:selected {{ background: {t.hover}; }}
QMenu::item:disabled {{ color: {t.muted}; }}
QMenu::separator {{ height: 1px; background: {t.line}; margin: 4px 8px; }}
QMenu::icon {{ left: 8px; }}
QMenu::indicator {{ left: 8px; }}
"""

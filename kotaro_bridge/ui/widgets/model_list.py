"""The list of models, grouped by engine, each with its state. Selecting shows one; Enter or double click toggles it."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QPoint, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import QColor, QFont, QFontMetrics, QIcon, QPainter
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import RunView
from kotaro_bridge.domain.units import format_gib
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.icons import glyph_pixmap, state_icon
from kotaro_bridge.ui.theme import Theme
from kotaro_bridge.ui.view_models.grouping import by_engine, short_title
from kotaro_bridge.ui.view_models.look import Look
from kotaro_bridge.ui.view_models.status import look_of_run, state_word

ID = Qt.ItemDataRole.UserRole
SUB = Qt.ItemDataRole.UserRole + 1
LOOK = Qt.ItemDataRole.UserRole + 2
IMAGES = Qt.ItemDataRole.UserRole + 3
WORD = Qt.ItemDataRole.UserRole + 4
PAD = 10


class ModelList(QListWidget):
    """Emits `chosen` with a profile id on selection and `toggled` when it is activated; `menu_wanted` with one and the
    place of the pointer."""

    chosen = Signal(str)
    toggled = Signal(str)
    menu_wanted = Signal(str, QPoint)

    def __init__(
        self, theme: Theme, texts: Texts, profiles: tuple[Profile, ...], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._texts = texts
        self._items: dict[str, QListWidgetItem] = {}
        self.setItemDelegate(_RowDelegate(theme, self))
        self.setAccessibleName(texts.text("ui.models"))
        self.setMouseTracking(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollMode(QListWidget.ScrollMode.ScrollPerPixel)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._on_menu)
        self.show_profiles(profiles)
        self.currentItemChanged.connect(self._on_current)
        self.itemActivated.connect(self._on_activated)

    def show_profiles(self, profiles: tuple[Profile, ...]) -> None:
        """Show other profiles; what is selected stays selected. Their runs have to be shown again."""
        current = self.current()
        self.blockSignals(True)
        self.clear()
        self._items.clear()
        for engine, group in by_engine(profiles).items():
            self._add_heading(self._texts.text(f"ui.engine.{engine}"))
            for profile in group:
                self._add(profile)
        self.blockSignals(False)
        self.select(current)

    def current(self) -> str:
        """Id of the selected profile; "" if none is."""
        return next((str(item.data(ID)) for item in self.selectedItems()), "")

    def select(self, profile_id: str) -> None:
        """Make a profile the current one."""
        if profile_id in self._items:
            self.setCurrentItem(self._items[profile_id])

    def show_run(self, view: RunView) -> None:
        """Show the state of a profile."""
        item = self._items.get(view.profile_id)
        if item is None:
            return
        word = state_word(self._texts, view)
        if item.data(WORD) != word:
            item.setData(LOOK, look_of_run(view).value)
            item.setData(WORD, word)
            item.setData(Qt.ItemDataRole.AccessibleTextRole, f"{item.text()}, {word}")

    def show_profile(self, profile: Profile) -> None:
        """Show what a profile holds, which a remedy may have changed."""
        item = self._items.get(profile.id)
        if item is None:
            return
        need = profile.stated_need
        parts = [self._texts.text("ui.needs", need=format_gib(need))] if need is not None else []
        parts.append(self._texts.text("ui.context", tokens=f"{profile.context:,}"))
        item.setData(SUB, " · ".join(parts))

    def _add_heading(self, text: str) -> None:
        item = QListWidgetItem(text, self)
        item.setFlags(Qt.ItemFlag.NoItemFlags)

    def _add(self, profile: Profile) -> None:
        item = QListWidgetItem(short_title(self._texts, profile), self)
        item.setData(ID, profile.id)
        item.setData(IMAGES, profile.sees_images)
        item.setToolTip(f"{profile.title}\n{profile.model}")
        self._items[profile.id] = item
        self.show_profile(profile)
        self.show_run(RunView(profile.id, Phase.IDLE, 0, 0.0))

    @Slot()
    def _on_current(self) -> None:
        item = self.currentItem()
        if item is not None:
            self.chosen.emit(item.data(ID))

    @Slot(QPoint)
    def _on_menu(self, place: QPoint) -> None:
        """From the mouse, or from the keyboard at the selected profile."""
        under = self.indexAt(place).data(ID)
        if under:
            self.select(under)
        if self.current():
            self.menu_wanted.emit(self.current(), self.viewport().mapToGlobal(place))

    @Slot(QListWidgetItem)
    def _on_activated(self, item: QListWidgetItem) -> None:
        self.toggled.emit(item.data(ID))


class _RowDelegate(QStyledItemDelegate):
    """Draws a heading, or a state's picture with title and second line."""

    def __init__(self, theme: Theme, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme = theme
        self._pictures: dict[Look, QIcon] = {}

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        """Two lines of text and air; a heading has one."""
        height = QFontMetrics(option.font).height()
        return QSize(200, 2 * height + 16 if index.data(ID) else height + 18)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Draw one row."""
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if index.data(ID):
            self._paint_model(painter, option, index)
        else:
            self._paint_heading(painter, option, index)
        painter.restore()

    def _paint_heading(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        font = QFont(option.font)
        font.setPointSizeF(font.pointSizeF() * 0.87)
        font.setWeight(QFont.Weight.DemiBold)
        painter.setFont(font)
        painter.setPen(QColor(self._theme.tokens.muted))
        area = option.rect.adjusted(PAD, 8, -PAD, 0)
        painter.drawText(area, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, index.data())

    def _paint_model(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        tokens = self._theme.tokens
        frame = QRectF(option.rect).adjusted(4.5, 1.5, -4.5, -1.5)
        selected = bool(option.state & QStyle.StateFlag.State_Selected)
        if selected or option.state & QStyle.StateFlag.State_MouseOver:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(tokens.selected if selected else tokens.hover))
            painter.drawRoundedRect(frame, 5, 5)
        if selected:
            painter.setBrush(QColor(tokens.accent))
            painter.drawRoundedRect(QRectF(frame.left(), frame.center().y() - 9, 3, 18), 1.5, 1.5)
        if selected and option.state & QStyle.StateFlag.State_HasFocus:
            painter.setPen(QColor(tokens.accent))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(frame, 5, 5)
        look = Look(index.data(LOOK))
        picture = self._pictures.setdefault(look, state_icon(look))
        picture.paint(painter, int(frame.left()) + PAD, int(frame.center().y()) - 9, 18, 18)
        text = frame.adjusted(PAD + 28, 5, -PAD, -5)
        if index.data(IMAGES):
            eye = glyph_pixmap("picture", tokens.muted, 14, option.widget.devicePixelRatioF())
            painter.drawPixmap(int(text.right()) - 13, int(text.top()) + 3, eye)
            text.setRight(text.right() - 18)
        painter.setFont(option.font)
        painter.setPen(QColor(tokens.text))
        metrics = QFontMetrics(option.font)
        title = metrics.elidedText(index.data(), Qt.TextElideMode.ElideRight, int(text.width()))
        painter.drawText(text, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop, title)
        small = QFont(option.font)
        small.setPointSizeF(small.pointSizeF() * 0.87)
        painter.setFont(small)
        resting = look is Look.IDLE
        painter.setPen(QColor(tokens.muted if resting else self._theme.tone(look)))
        sub = index.data(SUB) if resting else index.data(WORD)
        sub = QFontMetrics(small).elidedText(sub, Qt.TextElideMode.ElideRight, int(text.width()))
        painter.drawText(text, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignBottom, sub)

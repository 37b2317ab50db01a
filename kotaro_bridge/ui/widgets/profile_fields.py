"""All fields of a profile as a form: the usual ones first, the rest behind "More", each with its mistakes beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import Problem
from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.profile import KV_TYPES, KvType, WatchPolicy
from kotaro_bridge.domain.profile_form import KEYS, keys_of, with_engine
from kotaro_bridge.service.model_ports import LOCAL
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.icons import glyph_pixmap
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.widgets.basics import Card, button, label, put, row
from kotaro_bridge.ui.widgets.profile_inputs import (
    ArgumentsInput,
    CardsInput,
    ChoiceInput,
    ContextInput,
    FieldInput,
    LineInput,
    ModelInput,
    SwitchInput,
)
from kotaro_bridge.ui.widgets.scroll import Scroll

USUAL = ("title", "engine", "model", "projector", "context", "parallel", "kv_type", "gpus")
MORE = tuple(key for key in KEYS if key not in USUAL)
_NUMBERS = frozenset({"parallel", "port", "vllm.max_num_seqs", "vllm.max_num_batched_tokens"})
_SWITCHES = frozenset({"vllm.images", "vllm.trust_remote_code"})
NAME_WIDTH = 124


class FieldRow(QWidget):
    """A field's name, its input, what it is for, and what is wrong with it."""

    def __init__(self, theme: Theme, texts: Texts, key: str, made: FieldInput) -> None:
        super().__init__()
        self._theme = theme
        self._texts = texts
        self._problems: tuple[Problem, ...] = ()
        self.input = made
        name = texts.text(f"ui.editor.field.{key.replace('.', '_')}")
        self.caption = label(name)
        self.caption.setFixedWidth(NAME_WIDTH)
        self.caption.setBuddy(made)
        self.caption.setWordWrap(True)
        self.hint = label("", "small", wrap=True)
        self.mark = QLabel()
        self.wrong = label("", "small", wrap=True, selectable=True)
        self.wrong.setProperty("tone", "bad")
        made.name(name, "")
        self._wrong_line = QWidget()
        line = row(self.mark, self.wrong)
        line.setAlignment(self.mark, Qt.AlignmentFlag.AlignTop)
        line.setStretch(1, 1)
        self._wrong_line.setLayout(line)
        side = QVBoxLayout()
        side.setSpacing(2)
        side.addWidget(made)
        side.addWidget(self.hint)
        side.addWidget(self._wrong_line)
        whole = row(self.caption, spacing=UNIT)
        whole.setAlignment(self.caption, Qt.AlignmentFlag.AlignTop)
        self.caption.setContentsMargins(0, 5, 0, 0)
        whole.addLayout(side, 1)
        self.setLayout(whole)
        self._wrong_line.hide()
        theme.changed.connect(self._recolour)

    def show_hint(self, words: str) -> None:
        """What it is for."""
        put(self.hint, words)
        self.hint.setVisible(bool(words))

    def show_problems(self, problems: tuple[Problem, ...]) -> None:
        """What is wrong with it; empty if nothing is."""
        if problems == self._problems:
            return
        self._problems = problems
        messages = [self._texts.message(each) for each in problems]
        whole = len(problems) == 1 and problems[0].code.startswith("editor.")
        put(self.wrong, "\n".join(f"{each.what} {each.do}" if whole else each.what for each in messages))
        self._wrong_line.setVisible(bool(problems))
        for stop in self.input.stops:
            stop.setAccessibleDescription(self.wrong.text() or self.hint.text())
        self._recolour()

    @Slot()
    def _recolour(self) -> None:
        if self._problems:
            self.mark.setPixmap(glyph_pixmap("failed", self._theme.tokens.bad, 14, self.devicePixelRatioF()))


class ProfileFields(Scroll):
    """Emits `edited` when a person changed something, `dragged` while the context's slider moves, `choosing` for a
    model."""

    edited = Signal()
    dragged = Signal()
    choosing = Signal()

    def __init__(self, theme: Theme, texts: Texts) -> None:
        super().__init__()
        self._theme = theme
        self._texts = texts
        self._after: QWidget | None = None
        self.context = ContextInput(texts)
        self.model = ModelInput(texts)
        self.cards = CardsInput(texts)
        self.target = ChoiceInput()
        self.engine = ChoiceInput([(engine.value, texts.text(f"ui.engine.{engine}")) for engine in Engine])
        self.arguments = ArgumentsInput(theme)
        self.rows: dict[str, FieldRow] = {key: FieldRow(theme, texts, key, self._input(key)) for key in (*USUAL, *MORE)}
        self.more = button("", "quiet")
        self.more.setCheckable(True)
        self._more_card = Card(spacing=UNIT + 2)
        self._lay_out()
        self.engine.edited.connect(self._on_engine)
        self.context.dragged.connect(self.dragged)
        self.model.choosing.connect(self.choosing)
        for key, each in self.rows.items():
            if key != "engine":
                each.input.edited.connect(self.edited)
        self.more.toggled.connect(self._arrange)

    def _input(self, key: str) -> FieldInput:
        text = self._texts.text
        made: dict[str, FieldInput] = {
            "context": self.context,
            "model": self.model,
            "gpus": self.cards,
            "target": self.target,
            "engine": self.engine,
            "extra_args": self.arguments,
        }
        if key in made:
            return made[key]
        if key == "kv_type":
            return ChoiceInput()
        if key == "watch":
            return ChoiceInput([(policy.value, text(f"ui.editor.word.{policy}")) for policy in WatchPolicy])
        return SwitchInput(text("ui.editor.word.yes")) if key in _SWITCHES else LineInput(number=key in _NUMBERS)

    def _lay_out(self) -> None:
        content = QWidget()
        box = QVBoxLayout(content)
        box.setContentsMargins(0, 0, UNIT, 0)
        box.setSpacing(UNIT)
        first = Card(spacing=UNIT + 2)
        for key in USUAL:
            first.body.addWidget(self.rows[key])
        for key in MORE:
            self._more_card.body.addWidget(self.rows[key])
        box.addWidget(first)
        box.addLayout(row(self.more, 1))
        box.addWidget(self._more_card)
        box.addStretch(1)
        self.setWidget(content)

    # What is shown

    def texts(self) -> dict[str, str]:
        """What stands in all fields; those of the other engine as they were."""
        return {key: each.input.text() for key, each in self.rows.items()}

    def fill(self, texts: Mapping[str, str]) -> None:
        """Show these texts; nothing is emitted."""
        engine = Engine(texts["engine"])
        words = [kind for kind in KvType if kind in KV_TYPES[engine]]
        kv = self.rows["kv_type"].input
        if isinstance(kv, ChoiceInput):
            kv.put(texts["kv_type"])
            kv.offer([(kind.value, self._texts.text(f"ui.editor.word.{kind}")) for kind in words])
        for key, each in self.rows.items():
            each.input.put(texts[key])
        self.arguments.set_engine(engine)
        self._arrange()
        self.chain()

    def offer_targets(self, targets: Sequence[str]) -> None:
        """Where engines can run."""
        self.target.offer([(target, self._target_name(target)) for target in targets])

    def _target_name(self, target: str) -> str:
        text = self._texts.text
        if target == LOCAL:
            return text("ui.editor.word.local")
        name = target.removeprefix("wsl:")
        return text("ui.editor.word.distro", name=name) if name else text("ui.editor.word.default_distro")

    def offer_cards(self, cards: Sequence[GpuSnapshot]) -> None:
        """The cards of this PC."""
        self.cards.offer({card.index: card.name for card in cards})
        self._arrange_cards()

    def show_problems(self, problems: Mapping[str, tuple[Problem, ...]]) -> None:
        """What is wrong, each at its field."""
        for key, each in self.rows.items():
            each.show_problems(problems.get(key, ()))
        refused = frozenset(str(each.params.get("argument", "")) for each in problems.get("extra_args", ()))
        self.arguments.mark(refused)
        if not self.more.isChecked() and any(key in MORE for key in problems):
            self.more.setChecked(True)

    def show_first(self, problems: Mapping[str, tuple[Problem, ...]]) -> None:
        """Bring the first mistake into view and give it the focus."""
        key = next((key for key in (*USUAL, *MORE) if key in problems), None)
        if key is not None:
            self.rows[key].input.setFocus(Qt.FocusReason.OtherFocusReason)
            self.ensureWidgetVisible(self.rows[key], 0, 3 * UNIT)

    @Slot()
    def _arrange(self) -> None:
        engine = Engine(self.engine.text())
        wanted = keys_of(engine)
        for key, each in self.rows.items():
            each.setVisible(key in wanted)
            each.show_hint(self._hint(key, engine))
        self._arrange_cards()
        is_open = self.more.isChecked()
        self._more_card.setVisible(is_open)
        put(self.more, f"{'▾' if is_open else '▸'} {self._texts.text('ui.editor.more')}")

    def _arrange_cards(self) -> None:
        self.rows["gpus"].setVisible(len(self.cards.boxes) > 1)

    def _hint(self, key: str, engine: Engine) -> str:
        text = self._texts.text
        if key == "gpus":
            return text(f"ui.editor.hint.gpus_{'vllm' if engine is Engine.VLLM else 'llama'}")
        if key == "port":
            return text("ui.editor.hint.port", port=self.rows[key].input.text().strip())
        return text(f"ui.editor.hint.{key.replace('.', '_')}")

    def chain(self, after: QWidget | None = None) -> None:
        """Tab goes from field to field as they stand there, and then on to `after`."""
        self._after = after or self._after
        before: QWidget | None = None
        stops = [stop for key in USUAL for stop in self.rows[key].input.stops]
        stops += [self.more, *(stop for key in MORE for stop in self.rows[key].input.stops)]
        for stop in [*stops, *((self._after,) if self._after is not None else ())]:
            if before is not None:
                QWidget.setTabOrder(before, stop)
            before = stop

    @Slot()
    def _on_engine(self) -> None:
        """What was the other engine's default becomes this one's."""
        now = Engine(self.engine.text())
        other = next(engine for engine in Engine if engine is not now)
        self.fill(with_engine(self.texts() | {"engine": other.value}, now))
        self.edited.emit()

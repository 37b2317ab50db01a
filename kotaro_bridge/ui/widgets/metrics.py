"""The three cards of live numbers: memory, speed, graphics card. Each is a big value, a note and a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QWidget

from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.run_view import RunView, Sample
from kotaro_bridge.domain.units import GIB, format_gib
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.view_models.memory import Shares, shares
from kotaro_bridge.ui.view_models.series import curves, window_s
from kotaro_bridge.ui.view_models.status import card_of, is_live, rate_digits, throughput_of
from kotaro_bridge.ui.widgets.basics import Card, Elided, button, label, put, row
from kotaro_bridge.ui.widgets.plots import Line, LivePlot
from kotaro_bridge.ui.widgets.vram_gauge import Bar

SPANS = ((120.0, "ui.graph.span_2"), (600.0, "ui.graph.span_10"))
HEAD_HEIGHT = 24
UNKNOWN = "–"
STEPS = 240
"""A graph moves on by no less than this part of its width: over ten minutes a redraw each second shows nothing new,
and costs several times what it costs over two (measured: 41 ms against 11)."""


class Metrics(QWidget):
    """Shows the newest sample and the history behind it."""

    def __init__(self, theme: Theme, texts: Texts, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._texts = texts
        self._span_s = SPANS[0][0]
        text = texts.text
        now_word = text("ui.graph.now")
        self.bar = Bar(theme)
        self.memory = _Metric(text("ui.graph.memory"), self.bar)
        self.memory_plot = LivePlot(
            theme,
            (Line(text("ui.graph.used"), 0, "{:.1f}"), Line(text("ui.graph.shared"), 1, "{:.1f}", dashed=True)),
            text("ui.graph.memory"),
            now_word,
        )
        self.speed = _Metric(text("ui.graph.speed"))
        self.speed_plot = LivePlot(
            theme,
            (
                Line(text("ui.graph.generation"), 0, "{:.0f}"),
                Line(text("ui.graph.prompt"), 1, "{:,.0f}", dashed=True, right=True),
            ),
            text("ui.graph.speed"),
            now_word,
            least=10,
        )
        self.card = _Metric(text("ui.graph.card"))
        self.card_plot = LivePlot(
            theme,
            (
                Line(text("ui.graph.busy"), 2, "{:.0f} %"),
                Line(text("ui.graph.power"), 3, "{:.0f} W", dashed=True, right=True),
            ),
            text("ui.graph.card"),
            now_word,
            least=50,
        )
        self.card_plot.set_top(100)
        self.spans = _Spans(texts, self._set_span)
        self.card.head.addWidget(self.spans)
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(UNIT)
        for metric, plot, share in (
            (self.memory, self.memory_plot, 12),
            (self.speed, self.speed_plot, 9),
            (self.card, self.card_plot, 10),
        ):
            metric.body.addWidget(plot, 1)
            line.addWidget(metric, share)  # the words of the memory are the longest
        self._shown: tuple[Sequence[Sample], Profile] | None = None
        self._drawn = ("", 0.0, 0.0)

    def show_sample(self, profile: Profile, views: Sequence[RunView], view: RunView, history: Sequence[Sample]) -> None:
        """Show numbers; `views`: all runs on this profile's card, `view`: the profile's own."""
        self._shown = (history, profile)
        sample = history[-1] if history else None
        self._show_memory(profile, views, sample)
        self._show_speed(view, sample)
        self._show_card(profile, sample)
        self._draw()

    def _show_memory(self, profile: Profile, views: Sequence[RunView], sample: Sample | None) -> None:
        text = self._texts.text
        card = card_of(sample, profile.gpus)
        parts = shares(card, views)
        if card is None or parts is None:
            put(self.memory.value, UNKNOWN)
            put(self.memory.note, text("ui.graph.no_data"))
            self.bar.set_parts((), text("ui.graph.no_data"))
            return
        words = text("ui.used_of_total", used=f"{parts.used / GIB:.1f}", total=format_gib(parts.total))
        put(self.memory.value, words)
        note = self._shares_words(parts)
        put(self.memory.note, note)
        ours = parts.ours or 0
        self.bar.set_parts(
            ((ours / parts.total, "ours"), ((parts.used - ours) / parts.total, "other")), f"{words}, {note}"
        )
        self.memory_plot.set_top(parts.total / GIB)

    def _shares_words(self, parts: Shares) -> str:
        text = self._texts.text
        free = text("ui.graph.free", size=f"{parts.free / GIB:.1f}")  # GiB stands in the title
        if parts.ours is None or parts.others is None:
            return free
        ours = text("ui.graph.ours", size=f"{parts.ours / GIB:.1f}")
        others = text("ui.graph.others", size=f"{parts.others / GIB:.1f}")
        return f"{ours} · {others} · {free}"

    def _show_speed(self, view: RunView, sample: Sample | None) -> None:
        text = self._texts.text
        rate = throughput_of(sample, view.profile_id)
        if not is_live(view.phase) or rate is None or rate.generation_tps is None:
            put(self.speed.value, UNKNOWN)
            put(self.speed.note, text("ui.graph.no_rate" if is_live(view.phase) else "ui.graph.not_running"))
            return
        put(self.speed.value, text("ui.rate", rate=rate_digits(rate.generation_tps)))
        key = "ui.graph.requests" if rate.requests else "ui.graph.no_requests"
        put(self.speed.note, text(key, count=rate.requests or 0))

    def _show_card(self, profile: Profile, sample: Sample | None) -> None:
        card = card_of(sample, profile.gpus)
        if card is None:
            put(self.card.value, UNKNOWN)
            put(self.card.note, self._texts.text("ui.graph.no_data"))
            return
        put(self.card.value, UNKNOWN if card.utilization is None else f"{card.utilization:.0%}".replace("%", " %"))
        parts = [card.name.removeprefix("NVIDIA ").removeprefix("GeForce ")]
        parts += [] if card.power_w is None else [f"{card.power_w:.0f} W"]
        parts += [] if card.temperature_c is None else [f"{card.temperature_c} °C"]
        put(self.card.note, " · ".join(parts))

    def _draw(self) -> None:
        if self._shown is None:
            return
        history, profile = self._shown
        now = history[-1].at if history else 0.0
        span_s = window_s(history, self._span_s)
        if self._drawn[:2] == (profile.id, span_s) and 0 <= now - self._drawn[2] < span_s / STEPS:
            return
        self._drawn = (profile.id, span_s, now)
        for plot in (self.memory_plot, self.speed_plot, self.card_plot):
            plot.set_span(span_s)
        made = curves(history, profile.id, profile.gpus, now, span_s)
        self.memory_plot.show_values(made.x, (made.used, made.shared))
        self.speed_plot.show_values(made.x, (made.generation, made.prompt))
        self.card_plot.show_values(made.x, (made.busy, made.power))

    def _set_span(self, seconds: float) -> None:
        self._span_s = seconds
        self._draw()


class _Metric(Card):
    """Title, big value, note and room for a graph."""

    def __init__(self, title: str, under: QWidget | None = None) -> None:
        super().__init__(spacing=5)
        self.body.setContentsMargins(UNIT + 4, UNIT + 4, UNIT + 4, UNIT + 4)
        self.value = label(UNKNOWN, "big")
        self.note = Elided(role="small")
        self.head = row(Elided(title, "muted"), spacing=4)
        self.head.setStretch(0, 1)
        # The same height with and without buttons in it, so that the cards' values stand in one line.
        self.head.addStrut(HEAD_HEIGHT)
        self.body.addLayout(self.head)
        self.body.addWidget(self.value)
        self.body.addWidget(self.note)
        if under is not None:
            self.body.addWidget(under)


class _Spans(QWidget):
    """Two small buttons: how far back the graphs go."""

    def __init__(self, texts: Texts, chosen: Callable[[float], None]) -> None:
        super().__init__()
        self._chosen = chosen
        self._group = QButtonGroup(self)
        parts = []
        for number, (_, key) in enumerate(SPANS):
            choice = button(texts.text(key), "segment")
            choice.setCheckable(True)
            choice.setChecked(number == 0)
            choice.setAccessibleName(texts.text("ui.graph.span_name", span=texts.text(key)))
            self._group.addButton(choice, number)
            parts.append(choice)
        self.setLayout(row(*parts, spacing=2))
        self._group.idClicked.connect(self._on_click)

    @Slot(int)
    def _on_click(self, number: int) -> None:
        self._chosen(SPANS[number][0])

"""Icons and colours: states differ in shape, and everything is readable on its ground."""

from __future__ import annotations

from itertools import combinations

import pytest
from PySide6.QtGui import QColor, QImage
from PySide6.QtWidgets import QApplication

from kotaro_bridge.ui.icons import SIZES, app_icon, state_icon, state_pixmap
from kotaro_bridge.ui.theme import DARK, LIGHT, LOOK_COLOURS, Theme, Tokens
from kotaro_bridge.ui.view_models.look import Look

TASKBARS = ("#f3f3f3", "#202020")


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.1 defines it."""
    shown = QColor(colour)
    channels = (shown.redF(), shown.greenF(), shown.blueF())
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def shape(look: Look) -> list[bool]:
    """What a person sees at 16 pixels without any colour: inked or not, white signs counted as holes."""
    image = state_pixmap(look, 16).toImage().convertToFormat(QImage.Format.Format_ARGB32)
    pixels = [image.pixelColor(x, y) for y in range(16) for x in range(16)]
    return [p.alpha() > 128 and not (p.red() > 200 and p.green() > 200 and p.blue() > 200) for p in pixels]


@pytest.mark.parametrize(("one", "other"), list(combinations(Look, 2)))
def test_states_differ_in_shape_at_16_pixels(qapp: QApplication, one: Look, other: Look) -> None:
    differing = sum(a != b for a, b in zip(shape(one), shape(other), strict=True))
    assert differing >= 12


@pytest.mark.parametrize("look", Look)
@pytest.mark.parametrize("ground", TASKBARS)
def test_tray_icons_are_readable_on_light_and_dark_taskbars(look: Look, ground: str) -> None:
    assert contrast(LOOK_COLOURS[look], ground) >= 3


@pytest.mark.parametrize("tokens", [LIGHT, DARK], ids=["light", "dark"])
def test_text_is_readable_on_its_ground(tokens: Tokens) -> None:
    pairs = [(tokens.text, ground) for ground in (tokens.window, tokens.side, tokens.card, tokens.field, tokens.hover)]
    pairs += [(tokens.muted, ground) for ground in (tokens.window, tokens.side, tokens.card, tokens.field)]
    pairs += [(tokens.accent, tokens.card), (tokens.on_accent, tokens.accent), (tokens.text, tokens.selected)]
    pairs += [(tokens.good, tokens.card), (tokens.warn, tokens.warn_back), (tokens.bad, tokens.card)]
    pairs += [(tokens.text, ground) for ground in (tokens.bad_back, tokens.warn_back, tokens.good_back)]
    too_weak = [
        (text, ground, round(contrast(text, ground), 2)) for text, ground in pairs if contrast(text, ground) < 4.5
    ]
    assert too_weak == []
    assert all(contrast(line, tokens.card) >= 3 for line in tokens.series)


def test_icons_bring_all_sizes(qapp: QApplication) -> None:
    assert {size.width() for size in state_icon(Look.READY).availableSizes()} == set(SIZES)
    assert 256 in {size.width() for size in app_icon().availableSizes()}


def test_the_theme_can_be_forced_and_tells_of_it(theme: Theme, qapp: QApplication) -> None:
    told: list[bool] = []
    theme.changed.connect(lambda: told.append(theme.tokens.dark))
    theme.force("dark")
    assert qapp.palette().window().color() == QColor(DARK.window)
    theme.force("light")
    assert told == [True, False]

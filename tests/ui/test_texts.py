"""The sentences: both languages have the same, and every code of the product has one."""

from __future__ import annotations

import re
import string
import tomllib
from pathlib import Path

import pytest

from kotaro_bridge.domain.engine.arguments import forbidden_reasons
from kotaro_bridge.domain.engine.reasons import ReasonCode, Verdict
from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.run.gate import CheckId, Status
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.resources import resource
from kotaro_bridge.texts import LANGUAGES, Texts, load_catalogue

SOURCE = Path(__file__).resolve().parents[2] / "kotaro_bridge"
PROBLEM = re.compile(r"""problem\(\s*"([a-z0-9_.]+)\"""")
GATE_CHECKS = (
    "driver",
    "wsl",
    "gpu_in_target",
    "engine",
    "model",
    "port_windows",
    "port_target",
    "localhost_forwarding",
)
WAYS_AROUND = ("anyway", "ignore", "force start", "skip the check", "とにかく", "無視", "それでも開始", "強制的に開始")


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def codes() -> set[str]:
    """Every code that the source names, written out or put together."""
    found = {code for path in SOURCE.rglob("*.py") for code in PROBLEM.findall(path.read_text(encoding="utf-8"))}
    found |= {f"proof.{code}" for code in ReasonCode}
    found |= {f"command.forbidden.{reason}" for reason in forbidden_reasons()}
    found |= {f"gate.{check}.{end}" for check in GATE_CHECKS for end in ("passed", "skipped")}
    found |= {f"gate.{check}.failed" for check in ("port_windows", "port_target", "localhost_forwarding")}
    found |= {"gate.driver.none", "gate.gpu_in_target.none", "engine.missing", "engine.unusable"}
    return found


def test_both_languages_have_the_same_keys() -> None:
    assert set(load_catalogue("ja")) == set(load_catalogue("en"))


def test_translations_keep_placeholders_and_mnemonics() -> None:
    for key, english in load_catalogue("en").items():
        japanese = load_catalogue("ja")[key]
        assert placeholders(japanese) == placeholders(english), key
        assert ("&" in japanese) == ("&" in english), key
        assert japanese, key
        assert english, key


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_code_has_a_sentence(language: str) -> None:
    missing = sorted(code for code in codes() if f"{code}.what" not in load_catalogue(language))
    assert missing == []


def test_every_state_check_and_verdict_has_its_words() -> None:
    english = load_catalogue("en")
    wanted = [f"ui.{table}.{phase}" for table in ("phase", "state") for phase in Phase]
    wanted += [f"ui.check.{check}" for check in CheckId] + [f"ui.status.{status}" for status in Status]
    wanted += [f"ui.proof.verdict.{verdict}" for verdict in Verdict if verdict is not Verdict.GPU]
    wanted += [f"ui.block.{kind}.{phase}" for kind in ("title", "note") for phase in ("refused", "failed", "orphaned")]
    assert [key for key in wanted if key not in english] == []


def test_windows_ask_only_for_keys_that_there_are() -> None:
    english = load_catalogue("en")
    used = {
        key
        for path in (SOURCE / "ui").rglob("*.py")
        for key in re.findall(r'"(ui\.[a-z0-9_.]+)"', path.read_text(encoding="utf-8"))
    }
    assert used
    assert sorted(key for key in used if key not in english) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_sentence_offers_a_way_around_and_none_shouts(language: str) -> None:
    for key, text in load_catalogue(language).items():
        # What WSL ignores in its file is no way around our gate.
        about_wsl = "wslconfig." in key
        assert about_wsl or not any(word in text.lower() for word in WAYS_AROUND), key
        assert "!" not in text, key
        assert "！" not in text, key


@pytest.mark.parametrize("language", LANGUAGES)
def test_tables_are_sorted_and_keys_stand_once(language: str) -> None:
    text = resource(f"i18n/{language}.toml").read_text(encoding="utf-8")
    tables = re.findall(r"^\[([^\]]+)\]", text, re.MULTILINE)
    assert tables == sorted(tables)
    assert tomllib.loads(text)


def test_a_size_prints_as_mib_and_a_missing_value_as_a_gap() -> None:
    message = Texts("en").message(problem("gate.vram.too_small", need_bytes=21500 * 2**20))
    assert "21,500 MiB" in message.what
    assert "?" in message.what


def test_an_unknown_code_is_shown_as_it_is() -> None:
    assert Texts("ja").message(problem("not.yet.known", port=8080)).what == "not.yet.known (port=8080)"


def test_an_unknown_language_is_english() -> None:
    assert Texts("tlh").text("ui.start") == Texts("en").text("ui.start")

"""Sentences: every code that the product can raise has one, in both languages, with the same placeholders."""

from __future__ import annotations

import ast
import string
from pathlib import Path

import pytest

from kotaro_bridge.domain.engine.arguments import forbidden_reasons
from kotaro_bridge.domain.engine.placement import ReasonCode
from kotaro_bridge.domain.engine.placement_rules import EVIDENCE
from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.planning.catalogue_rank import Use
from kotaro_bridge.domain.run.gate import CheckId
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.wsl.wslconfig_document import Caveat
from kotaro_bridge.domain.wsl.wslconfig_findings import Advice
from kotaro_bridge.domain.wsl.wslconfig_keys import KEY_TYPES
from kotaro_bridge.service.wslconfig_restart import Step
from kotaro_bridge.texts import Texts, load_catalogue

PACKAGE = Path(__file__).parents[2] / "kotaro_bridge"


def codes_in_source() -> set[str]:
    """First arguments of all `problem(...)` calls that are plain strings."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "problem"
                and node.args
            ):
                values = [node.args[0]]
                if isinstance(node.args[0], ast.IfExp):
                    values = [node.args[0].body, node.args[0].orelse]
                found |= {str(v.value) for v in values if isinstance(v, ast.Constant)}
    return found


CHECKS = ("driver", "wsl", "gpu_in_target", "engine", "model", "port_windows", "port_target", "localhost_forwarding")
FAILING = ("stop", "hangs", "shutdown", "start", "same_vm")
MADE = (
    {f"gate.{check}.{end}" for check in CHECKS for end in ("passed", "skipped")}
    | {"gate.vram.held", "gate.vram.failed", "gate.driver.none", "gate.gpu_in_target.none"}
    | {f"gate.{check}.failed" for check in ("port_windows", "port_target", "localhost_forwarding")}
    | {f"command.forbidden.{reason}" for reason in forbidden_reasons()}
    | {f"proof.{code.value}" for code in ReasonCode}
    | {f"wslconfig.advice.{code}" for code in Advice}
    | {f"wslconfig.caveat.{caveat}" for caveat in Caveat}
    | {f"wslconfig.restart.{step}{end}" for step in FAILING for end in ("", "_runs")}
    | {f"advice.{use}" for use in Use}
    | {f"wslconfig.effect.{why}" for why in ("ignored", "waits", "not_set", "differs", "not_told")}
)


def test_every_code_has_a_sentence() -> None:
    catalogue = load_catalogue("en")
    assert sorted(code for code in codes_in_source() | MADE if f"{code}.what" not in catalogue) == []


def test_every_phase_and_check_has_a_name() -> None:
    catalogue = load_catalogue("en")
    wanted = [f"ui.phase.{phase.value}" for phase in Phase] + [f"ui.check.{check.value}" for check in CheckId]
    wanted += [f"wslconfig.step.{step}" for step in Step]
    assert [key for key in wanted if key not in catalogue] == []


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_setting_of_wsl_is_explained(language: str) -> None:
    catalogue = load_catalogue(language)
    names = [key.partition(".")[2] for key in KEY_TYPES]
    wanted = [f"wslconfig.key.{name}.{part}" for name in names for part in ("name", "what", "default", "hint")]
    assert [key for key in wanted if not catalogue.get(key)] == []
    assert [key for key in catalogue if key.startswith("wslconfig.key.") and key not in wanted] == []


def test_problems_tell_what_to_do() -> None:
    """A refusal without a way out helps nobody; passed checks, skipped ones and reports of what was done need none, and
    what was not asked has it where the reason stands.
    """
    catalogue = load_catalogue("en")
    quiet = (".passed", ".skipped")
    reasons = ("wslconfig.recommend.", "advice.", "plan.verdict.")
    informing = {"gate.unasked.unknown", "stop.leftover_ended", "stop.orphan_gone"}
    codes = {code for code in codes_in_source() | MADE if not code.endswith(quiet)} - informing
    codes = {code for code in codes if not code.startswith(reasons)}
    assert sorted(code for code in codes if not catalogue.get(f"{code}.do")) == []


def placeholders(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def test_both_languages_say_the_same() -> None:
    english, japanese = load_catalogue("en"), load_catalogue("ja")
    assert sorted(english) == sorted(japanese)
    assert [key for key in english if placeholders(english[key]) != placeholders(japanese[key])] == []


def test_no_sentence_offers_a_way_around_the_gpu() -> None:
    for language in ("en", "ja"):
        for text in load_catalogue(language).values():
            assert "start anyway" not in text.lower()
            assert "このまま起動" not in text


@pytest.mark.parametrize("language", ["en", "ja", "xx"])
def test_sizes_are_printed_and_gaps_do_not_crash(language: str) -> None:
    texts = Texts(language)
    message = texts.message(problem("gate.vram.failed", need_bytes=10 << 30, free_bytes=1 << 30))
    assert "10,240 MiB" in message.what + message.do
    assert texts.message(problem("gate.vram.failed")).what


@pytest.mark.parametrize("language", ["en", "ja"])
def test_what_a_log_lacks_has_a_name(language: str) -> None:
    catalogue = load_catalogue(language)
    words = [word for rules in EVIDENCE.values() for word, _ in rules]
    names = [catalogue[f"evidence.{word}"] for word in words]
    shown = Texts(language).message(problem("proof.evidence_missing", missing=",".join(words))).what
    assert ", ".join(names) in shown
    assert Texts(language).message(problem("proof.evidence_missing", missing="new_word")).what.count("new_word") == 1


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_problem_behind_another_one_is_told_in_words(language: str) -> None:
    texts = Texts(language)
    for step in ("shutdown", "start_runs"):
        for inner in (problem("wsl.missing"), problem("wslconfig.unreadable", path="FILE", detail="held")):
            outer = problem(f"wslconfig.restart.{step}", **inner.params, error=inner.code, runs="ONE")
            assert texts.message(inner).what.rstrip(".。") in texts.message(outer).what
    said = texts.message(problem("wslconfig.restart.shutdown", error="Wsl/Service/E_UNEXPECTED")).what
    assert "Wsl/Service/E_UNEXPECTED" in said


def test_an_unknown_code_is_shown_as_it_is() -> None:
    assert Texts("en").message(problem("no.such", a=1)).what == "no.such (a=1)"
    assert Texts("en").message(problem("no.such")).what == "no.such"

"""The table of the ways off the GPU: everything that it names is there, and the README shows it as it is."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from kotaro_bridge.domain.engine.arguments import checked_extra_args, forbidden_reason, forbidden_reasons
from kotaro_bridge.domain.engine.command import UNSET, build_command
from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.engine.escape_route import Route
from kotaro_bridge.domain.engine.escape_routes import ROUTES, markdown
from kotaro_bridge.domain.engine.placement_rules import INDECISIVE, NO_GPU
from kotaro_bridge.domain.engine.reasons import ReasonCode
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.ports import EngineCommand
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.texts import load_catalogue
from tools.routes import READMES, with_table

ROOT = Path(__file__).resolve().parents[3]


def numbered(route: Route) -> str:
    return str(route.number)


def profile(engine: Engine, *extra: str) -> Profile:
    projector = "p.gguf" if engine is Engine.LLAMA_SERVER else ""
    return Profile("t", engine, "engine", "model", "served", 8192, 8080, projector=projector, extra_args=extra)


def commands(route: Route) -> list[EngineCommand]:
    return [build_command(profile(engine), utilization=0.9) for engine in route.engines]


@cache
def functions(file: str) -> frozenset[str]:
    """The tests of a file, without importing it."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_the_whole_list_is_there() -> None:
    """The 39 ways that the issue counts, and those that were found since, numbered without a gap."""
    assert [route.number for route in ROUTES] == list(range(1, len(ROUTES) + 1))
    assert len(ROUTES) >= 39
    assert len({route.how for route in ROUTES}) == len({route.how_ja for route in ROUTES}) == len(ROUTES)


def test_nothing_that_we_prevent_or_detect_is_left_out() -> None:
    """Every pattern of variables, every reason of a refused argument and of the log that is about placement."""
    assert {pattern for route in ROUTES for pattern in route.unset} == set(UNSET)
    refusals = {
        forbidden_reason(engine, words.split()[0])
        for route in ROUTES
        for words in route.refused
        for engine in route.engines
    }
    assert forbidden_reasons() - refusals == {"gone", "quantization"}  # an argument that is no more, a kernel
    detected = {code for route in ROUTES for code in route.detected}
    placing = {code for code in ReasonCode if code.endswith(("_on_cpu", "_active"))} | NO_GPU | INDECISIVE
    assert {f"proof.{code}" for code in placing} <= detected


@pytest.mark.parametrize("route", ROUTES, ids=numbered)
def test_each_is_prevented_or_detected_and_shown(route: Route) -> None:
    assert route.refused or route.unset or route.given or route.detected
    assert route.detected or route.refused or route.unset
    assert route.tests
    assert route.source


@pytest.mark.parametrize("route", ROUTES, ids=numbered)
def test_what_is_said_to_be_refused_is_refused_with_a_reason(route: Route) -> None:
    for words in route.refused:
        refusals = []
        for engine in route.engines:
            with pytest.raises(ProblemError) as caught:
                checked_extra_args(profile(engine, *words.split()))
            refusals.append(caught.value.problem.code)
            assert forbidden_reason(engine, words.split()[0]) or refusals[-1] == "command.value_refused"
        assert all(code.startswith(("command.forbidden.", "command.value_refused")) for code in refusals), words


@pytest.mark.parametrize("route", ROUTES, ids=numbered)
def test_what_is_said_to_be_passed_is_in_the_command(route: Route) -> None:
    for words in route.passed:
        for command in commands(route):
            assert f" {words} " in f" {' '.join(command.argv)} "


@pytest.mark.parametrize("route", ROUTES, ids=numbered)
def test_what_is_said_of_the_environment_holds(route: Route) -> None:
    assert set(route.unset) <= set(UNSET)
    for command in commands(route):
        assert command.unset == UNSET
        assert set(route.given) <= set(command.env)


@pytest.mark.parametrize("route", ROUTES, ids=numbered)
def test_what_is_said_to_detect_it_exists(route: Route) -> None:
    """Each code has a sentence; those of the log's verdict are reasons of the rule."""
    catalogue = load_catalogue("en")
    assert [code for code in route.detected if f"{code}.what" not in catalogue] == []
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "kotaro_bridge").rglob("*.py"))
    reasons = {f"proof.{code.value}" for code in ReasonCode}
    raised = {code for code in route.detected if f'"{code}"' in source or code in reasons}
    raised |= {code for code in route.detected if re.search(r'"' + code.rpartition(".")[0] + r'"', source)}
    assert raised == set(route.detected)


@pytest.mark.parametrize("route", ROUTES, ids=numbered)
def test_the_tests_that_show_it_are_there(route: Route) -> None:
    for test in route.tests:
        file, _, function = test.partition("::")
        assert function in functions(file), test


@pytest.mark.parametrize("language", READMES)
def test_the_readme_shows_the_table_as_it_is(language: str) -> None:
    """`python3 dev.py routes` writes it."""
    text = READMES[language].read_text(encoding="utf-8")
    assert with_table(text, markdown(language)) == text


@pytest.mark.parametrize("language", READMES)
def test_the_table_is_one_row_per_way(language: str) -> None:
    rows = markdown(language).splitlines()
    cells = [re.split(r"(?<!\\)\|", row)[1:-1] for row in rows]
    assert {len(row) for row in cells} == {6}
    assert len(rows) == len(ROUTES) + 2
    assert all(cell.strip() for row in cells for cell in row)

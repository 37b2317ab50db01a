"""Whether a command has somebody to ask."""

from __future__ import annotations

import os
import sys

import pytest
import typer

from kotaro_bridge.app.session import UsageError, global_options
from kotaro_bridge.cli import session as cli_session
from kotaro_bridge.cli.main import run_command_line
from kotaro_bridge.cli.session import agree, has_person
from kotaro_bridge.domain.errors import ProblemError, problem


def test_nobody_answers_on_the_null_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """NUL is a terminal to Windows."""
    with open(os.devnull, encoding="utf-8") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert nothing.isatty() is (sys.platform == "win32")
        assert not has_person()
        with pytest.raises(ProblemError) as refused:
            agree("cli.models.remove_now", problem("models.not_asked"))
    assert refused.value.problem.code == "models.not_asked"


def test_a_program_without_streams_has_nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert not has_person()


@pytest.mark.parametrize("answer", [True, False])
def test_a_person_is_asked(monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    asked: list[str] = []

    def confirm(question: str, *, err: bool) -> bool:
        asked.append(question)
        return answer

    monkeypatch.setattr(cli_session, "has_person", lambda: True)
    monkeypatch.setattr(typer, "confirm", confirm)
    if answer:
        agree("cli.models.remove_now", problem("models.not_asked"))
    else:
        with pytest.raises(typer.Exit) as ended:
            agree("cli.models.remove_now", problem("models.not_asked"))
        assert ended.value.exit_code == 1
    assert len(asked) == 1


def test_a_profile_from_nowhere_is_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Under pythonw a program has no stdin at all."""
    monkeypatch.setattr(sys, "stdin", None)
    assert run_command_line(["profiles", "import", "-", "--id", "mine", "--lang", "en"]) == 1
    assert "title" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["..", "../../evil", "/evil", r"a\b", "C:", "a/b", ".", "a\n"])
def test_a_scenario_is_no_path(name: str) -> None:
    """It becomes the name of a folder, which the tray and `diagnostics` made wherever that led to."""
    with pytest.raises(UsageError):
        global_options(["--simulate", name, "status"])
    assert global_options(["--simulate", "rtx4090-24gb"]) == ("rtx4090-24gb", None, [])

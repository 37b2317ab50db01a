"""What all commands of the command line share: the global options, folders, sentences, and the product itself."""

from __future__ import annotations

import locale
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from kotaro_bridge.app import Product, setting_for
from kotaro_bridge.cli_print import explain, problem_of
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.host.paths import Paths
from kotaro_bridge.texts import Texts

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else there.")]


@dataclass(slots=True)
class Session:
    """What the global options say."""

    scenario: str | None = None
    language: str | None = None

    @property
    def texts(self) -> Texts:
        """Sentences in the language asked for, or that of this session's locale."""
        return Texts(self.language or system_language())

    @property
    def paths(self) -> Paths:
        """Folders of the real PC or of the scenario."""
        return Paths(Paths.of_user().simulated(self.scenario)) if self.scenario else Paths.of_user()


session = Session()


def system_language() -> str:
    """`ja` where the system speaks Japanese, else `en`."""
    named = (
        os.environ.get("LC_ALL")
        or os.environ.get("LC_MESSAGES")
        or os.environ.get("LANG")
        or locale.getlocale()[0]
        or ""
    )
    return "ja" if named.lower().startswith("ja") else "en"


@contextmanager
def product(*, owner: bool = False) -> Iterator[Product]:
    """The product on the PC that the options name; `owner` takes the runs of this user and reports leftovers."""
    with Product(setting_for(session.scenario), session.texts) as made:
        if owner:
            made.own()
            for leftover in made.supervisor.reap_leftovers():
                explain(session.texts, leftover)
        yield made


def raise_if_error(answer: dict[str, Any]) -> None:
    """Raise the ProblemError that an owner answered with."""
    if error := answer.get("error"):
        raise ProblemError(problem_of(error))

"""The real llama-server's own list of options against ours: a build that brings a new way off the GPU fails here."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from kotaro_bridge.domain.engine.arguments import ALLOWED, forbidden_reason
from kotaro_bridge.domain.engine.engine_log import Engine

pytestmark = pytest.mark.e2e

ENGINE = Engine.LLAMA_SERVER
NAMES = re.compile(r"(?:--?[A-Za-z][\w.-]*(?:,\s*)?)+")

# What the help says of options that choose a memory, a device or a second model.
MOVES_MEMORY = re.compile(
    r"\b(offload\w*|v?ram|gpus?|cpu|devices?|buffers?|kv|caches?|checkpoints?|draft|lookup|lora|vector|router|resident"
    r"|repacking|fit|override|projector|split)\b",
    re.IGNORECASE,
)
# Named in such words, and harmless: allowed, or refused as unknown like any word.
HARMLESS = {
    "--cache-list",  # prints and exits
    "--list-devices",
    "--threads",  # how many threads, and on which cores
    "--cpu-mask",
    "--cpu-range",
    "--cpu-strict",
    "--cpu-mask-batch",
    "--cpu-range-batch",
    "--cpu-strict-batch",
    "--numa",
    "--defrag-thold",  # does nothing any more
    "--offline",  # of the models that were fetched
    "--cache-prompt",  # the KV cache that is there, on the card
    "--cache-reuse",
    "--swa-full",
    "--load-mode",  # how the file is read, not where to
}


@dataclass(frozen=True, slots=True)
class Option:
    """One option of the engine: all its names, and what its help says."""

    names: tuple[str, ...]
    words: str

    @property
    def status(self) -> set[str]:
        """What we do with each of its names."""
        allowed = {name for entry in ALLOWED[ENGINE] for name in entry.names}
        return {"allowed" if name in allowed else forbidden_reason(ENGINE, name) or "unknown" for name in self.names}


@pytest.fixture(scope="module")
def options(llama_server: Path) -> list[Option]:
    done = subprocess.run([llama_server, "--help"], capture_output=True, text=True, timeout=30, check=True)
    blocks = re.split(r"\n(?=-(?!----))", re.sub(r"(?m)^----- .* -----$", "", done.stdout))
    found = []
    for block in blocks:
        names = NAMES.match(block.strip())
        if names:
            words = re.sub(r"\(env: \w+\)|https?://\S+", "", block.strip()[names.end() :])
            found.append(Option(tuple(re.findall(r"--?[A-Za-z][\w.-]*", names.group())), " ".join(words.split())))
    return found


def test_the_help_is_read_whole(options: list[Option]) -> None:
    """Short and negated names among them, so that the tests below see every spelling."""
    assert len(options) > 200
    names = {name for option in options for name in option.names}
    assert {"-nkvo", "--no-kv-offload", "-ncffn", "--no-mmproj-offload", "-otd", "--cpu-moe", "-lzm"} <= names


def test_every_option_that_moves_memory_is_refused_with_its_reason(options: list[Option]) -> None:
    moving = [option for option in options if MOVES_MEMORY.search(option.words) and HARMLESS.isdisjoint(option.names)]
    assert len(moving) >= 80
    assert [option.names for option in moving if option.status & {"allowed", "unknown"}] == []


def test_an_option_has_one_answer_under_all_its_names(options: list[Option]) -> None:
    assert [(option.names, option.status) for option in options if len(option.status) > 1] == []


def test_what_we_allow_exists(options: list[Option]) -> None:
    names = {name for option in options for name in option.names}
    assert {name for entry in ALLOWED[ENGINE] for name in entry.names} <= names


def test_what_is_said_to_be_harmless_exists(options: list[Option]) -> None:
    assert not HARMLESS.difference(*(option.names for option in options))

"""What starts took, in a file: the newest of the newest engine version, and files that cannot be used."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.planning.learned import Learned, Start
from kotaro_bridge.domain.planning.plan import PlanRequest
from kotaro_bridge.domain.ports import StartPlace
from kotaro_bridge.domain.profile import KvType
from kotaro_bridge.domain.units import GIB, MIB
from kotaro_bridge.host.history import SqliteStartHistory

pytestmark = pytest.mark.allow_log(r"^no starts in ", reason="files that cannot be used")

PLACE = StartPlace("llama-server", "RTX 4070", "580 wsl")
REQUEST = PlanRequest(Engine.LLAMA_SERVER, 8192, 2, KvType.Q8_0, swa_full=True)
START = Start("qwen2 48 9", REQUEST, 10 * GIB, 8 * GIB, GIB, 119 * MIB)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "starts.sqlite3"


@pytest.fixture
def store(path: Path) -> SqliteStartHistory:
    return SqliteStartHistory(path)


def test_before_the_first_start_nothing_is_known_and_no_file_is_there(store: SqliteStartHistory, path: Path) -> None:
    assert store.learned(PLACE) == Learned()
    assert not path.exists()


def test_a_start_comes_back_as_it_was(store: SqliteStartHistory) -> None:
    of_vllm = replace(START, request=PlanRequest(Engine.VLLM, 4096, eager=True), budget=12 * GIB)
    store.record(PLACE, "0.5.0", START)
    store.record(PLACE, "0.5.0", of_vllm)
    assert store.learned(PLACE) == Learned((of_vllm, START))


def test_another_version_card_or_driver_knows_nothing_of_it(store: SqliteStartHistory) -> None:
    store.record(PLACE, "0.5.0", START)
    for other in (replace(PLACE, card="RTX 4090"), replace(PLACE, driver="591 wsl"), replace(PLACE, engine="vllm")):
        assert store.learned(other) == Learned()
    newer = replace(START, vram=11 * GIB)
    store.record(PLACE, "0.6.0", newer)
    assert store.learned(PLACE) == Learned((newer,))


def test_a_row_of_another_program_is_left_out(store: SqliteStartHistory, path: Path) -> None:
    store.record(PLACE, "0.5.0", START)
    with closing(sqlite3.connect(path)) as file, file:
        for text in ('{"engine": "other"}', "no json"):
            file.execute("INSERT INTO start SELECT * FROM start LIMIT 1")
            file.execute("UPDATE start SET request = ? WHERE rowid = last_insert_rowid()", (text,))
    assert store.learned(PLACE) == Learned((START,))


def test_a_broken_file_is_moved_aside(store: SqliteStartHistory, path: Path) -> None:
    path.write_bytes(b"not a database" * 100)
    assert store.learned(PLACE) == Learned()
    assert path.with_name("starts.sqlite3.broken").exists()
    store.record(PLACE, "0.5.0", START)
    assert store.learned(PLACE) == Learned((START,))

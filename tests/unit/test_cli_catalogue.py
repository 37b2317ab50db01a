"""`models list`, `show` and `advise` as a person meets them, for a card that is only a number."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kotaro_bridge.cli.main import run_command_line
from kotaro_bridge.cli.plan import _Asked, _instead
from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.planning.learned import Learned, Start, model_key
from kotaro_bridge.domain.planning.plan import GgufPlanned, PlanRequest, plan, stated_card
from kotaro_bridge.domain.profile import KvType
from kotaro_bridge.domain.units import MIB
from kotaro_bridge.host.catalogue_store import load_catalogue
from tests.helpers.hf_configs import QWEN_7B
from tests.helpers.plan_rows import gguf
from tests.helpers.words import sentence, text

TERMINAL = 80


def columns(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line)


def call(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert run_command_line([*arguments]) == code
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(call(capsys, *arguments, "--json", code=code))
    return found


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("vram", ["11GiB", "23GiB", "80GiB"])
def test_tables_fit_a_terminal(capsys: pytest.CaptureFixture[str], language: str, vram: str) -> None:
    out = call(capsys, "models", "list", "--all", "--vram", vram, "--lang", language)
    assert [line for line in out.splitlines() if columns(line) > TERMINAL] == []
    assert all(entry.id in out for entry in load_catalogue())


def test_what_does_not_fit_is_counted_and_shown_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    out = call(capsys, "models", "list", "--vram", "11GiB")
    assert "qwen2.5-14b-instruct-q4_k_m" in out
    assert "qwen2.5-32b-instruct-q4_k_m" not in out
    assert "qwen2.5-32b-instruct-q4_k_m" in call(capsys, "models", "list", "--vram", "11GiB", "--all")


def test_the_list_as_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "models", "list", "--vram", "10752MiB")
    assert found["card"]["free"] == 10_752 << 20
    assert found["card"]["name"] is None
    assert len(found["models"]) == len(load_catalogue())
    best = found["models"][0]
    assert (best["id"], best["fit"], best["engine"]) == ("qwen2.5-14b-instruct-q4_k_m", "now", "llama-server")
    assert best["max_context"] >= 8192
    assert best["need"] < 10_752 << 20
    assert best["tokens_per_s"] is None  # of a card that is a number no bandwidth is known
    assert [file["name"] for file in best["files"]] == [
        f"qwen2.5-14b-instruct-q4_k_m-{part:05}-of-00003.gguf" for part in (1, 2, 3)
    ]
    assert best["download"] == sum(file["bytes"] for file in best["files"])
    last = found["models"][-1]
    assert (last["fit"], last["max_context"], last["need"]) == ("no", None, None)
    nearly = next(model for model in found["models"] if model["id"] == "qwen2.5-14b-instruct-awq")
    assert (nearly["fit"], nearly["max_context"]) == ("no", None)
    assert nearly["need"] > 10_752 << 20
    seeing = document(capsys, "models", "list", "--vram", "11GiB", "--use", "images")["models"]
    assert {model["projector"]["name"] for model in seeing if model["engine"] == "llama-server"} == {
        "mmproj-model-f16.gguf"
    }


@pytest.mark.parametrize("language", ["en", "ja"])
def test_one_model_with_all_that_is_known(capsys: pytest.CaptureFixture[str], language: str) -> None:
    out = call(capsys, "models", "show", "minicpm-v-2.6-q4_k_m", "--vram", "11GiB", "--lang", language)
    for part in ("openbmb/MiniCPM-V-2_6-gguf", "mmproj-model-f16.gguf", "MiniCPM%20Model%20License", "llama-server"):
        assert part in out
    found = document(capsys, "models", "show", "qwen2.5-7b-instruct-fp16", "--vram", "11GiB")
    assert (found["fit"], found["files"], found["licence"]) == ("no", [], "apache-2")


def test_a_file_of_ones_own_is_shown_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = {**QWEN_7B, "architectures": ["Qwen2ForCausalLM"], "torch_dtype": "bfloat16"}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    found = document(capsys, "models", "show", str(tmp_path), "--vram", "20GiB")
    assert (found["fit"], found["engine"], found["licence"], found["repository"]) == ("now", "vllm", None, None)
    out = call(capsys, "models", "show", str(tmp_path), "--vram", "20GiB")
    assert out.splitlines()[0] == tmp_path.name
    assert "vllm" in out


def test_advice_without_and_with_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "models", "advise", "--vram", "23GiB", "--use", "parallel")
    assert found["engine"] == "vllm"
    assert found["reasons"][0]["code"] == "advice.parallel"
    assert all(offer["engine"] == "vllm" for offer in found["offers"])
    fits = document(capsys, "models", "advise", "qwen2.5-7b-instruct-awq", "--vram", "23GiB", "--ctx", "8192")
    assert [offer["id"] for offer in fits["offers"]] == ["qwen2.5-7b-instruct-awq"]
    refused = document(
        capsys, "models", "advise", "qwen2.5-7b-instruct-fp16", "--vram", "15GiB", "--ctx", "8192", code=1
    )
    assert refused["offers"] == []
    (objection,) = refused["objections"]
    assert objection["said"] is None
    assert objection["instead"][0]["code"] == "advice.instead_same"


def test_a_context_that_is_too_short_is_named_as_the_plan_does(capsys: pytest.CaptureFixture[str]) -> None:
    name = "qwen2.5-14b-instruct-awq"
    found = document(capsys, "models", "show", name, "--vram", "12GiB")
    planned = document(capsys, "plan", name, "--ctx", "4096", "--vram", "12GiB")
    assert (found["fit"], found["max_context"]) == ("no", planned["max_context"])
    assert found["need"] == (12 << 30) - planned["margin"]
    out = call(capsys, "models", "show", name, "--vram", "12GiB")
    assert text("catalogue.fit.shorter", longest=planned["max_context"], context=4096) in out
    assert text("catalogue.fit.no") in call(capsys, "models", "show", name, "--vram", "6GiB")
    listed = call(capsys, "models", "list", "--vram", "12GiB", "--all")
    assert f"{planned['max_context']:,}" in listed


def test_advice_where_nothing_fits(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["models", "advise", "--vram", "1GiB"]) == 1
    assert text("advice.nothing", context=4096) in capsys.readouterr().out
    assert document(capsys, "models", "advise", "--vram", "1GiB", code=1)["offers"] == []


def test_the_engine_of_a_model_is_no_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["models", "advise", "qwen2.5-14b-instruct-awq", "--vram", "12GiB"]) == 1
    out = capsys.readouterr().out
    assert text("advice.engine_of_model", engine="vLLM") in out
    assert text("advice.engine", engine="vLLM") not in out


@pytest.mark.parametrize("language", ["en", "ja"])
def test_advice_in_words(capsys: pytest.CaptureFixture[str], language: str) -> None:
    out = call(capsys, "models", "advise", "--vram", "12GiB", "--lang", language)
    assert sentence("advice.one", language, engine="llama-server").what in out
    assert "Qwen2.5 14B Instruct AWQ" in out
    assert "8192" in out
    assert "llama-server" in out


def test_wrong_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["models", "list", "--use", "chess"]) == 2
    assert run_command_line(["models", "list", "--ctx", "10000001", "--vram", "12GiB"]) == 2
    capsys.readouterr()
    for words in (["models", "show", "no-such-model", "--vram", "12GiB"], ["plan", "no-such-model"]):
        assert run_command_line(words) == 1
        told = capsys.readouterr().err
        assert sentence("model.unknown_name", "en", name="no-such-model").what in told
        assert "models list" in told
        assert "profile" not in told


def test_a_longer_context_leaves_fewer_models(capsys: pytest.CaptureFixture[str]) -> None:
    fits = [
        {model["id"] for model in document(capsys, *words, "--vram", "11GiB")["models"] if model["fit"] == "now"}
        for words in (("models", "list"), ("models", "list", "--ctx", "16384"))
    ]
    assert fits[1] < fits[0]
    assert "qwen2.5-14b-instruct-q4_k_m" in fits[0] - fits[1]
    offers = document(capsys, "models", "advise", "--ctx", "16384", "--vram", "11GiB")["offers"]
    assert all(offer["max_context"] >= 16_384 for offer in offers)


@pytest.mark.parametrize("words", [("models", "list"), ("models", "show", "x"), ("plan", "x")])
@pytest.mark.parametrize("vram", ["12", "12.5", "much", "17TB", "20000GiB", "9" * 400 + "GiB"])
def test_a_size_of_a_card_that_cannot_be_meant(
    capsys: pytest.CaptureFixture[str], vram: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    """Twelve bytes are free where 12 is taken as it stands."""
    (tmp_path / "config.json").write_text(json.dumps(QWEN_7B), encoding="utf-8")
    named = [str(tmp_path) if word == "x" else word for word in words]
    assert run_command_line([*named, "--vram", vram]) == 2
    assert "12GiB" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("models", "show"), ("models", "advise"), ("plan",)])
def test_names_of_the_catalogue_in_capital_letters_and_no_name(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    out = call(capsys, *words, "Qwen2.5-7B-Instruct-AWQ", "--vram", "23GiB")
    assert out == call(capsys, *words, "qwen2.5-7b-instruct-awq", "--vram", "23GiB")
    for name in ("", " "):
        assert run_command_line([*words, name, "--vram", "23GiB"]) == 2
        assert "MODEL" in capsys.readouterr().err


def test_a_context_is_as_long_as_a_profile_may_ask_for(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("plan", "qwen2.5-7b-instruct-awq", "--vram", "23GiB", "--ctx")
    assert document(capsys, *words, "10000000")["fits"] is False
    assert run_command_line([*words, "10000001"]) == 2


def test_what_would_fit_rests_on_the_same_starts_as_the_answer() -> None:
    """A start that took 400 MiB more than planned leaves less room for each of the offers."""
    planned, request = GgufPlanned(gguf("q7")), PlanRequest(Engine.LLAMA_SERVER, 32_768)
    one = plan(planned, request, None)
    taken = one.total + 400 * MIB
    learned = Learned((Start(model_key(planned), request, taken, one.weights.bytes, one.kv.bytes, one.compute.bytes),))
    smaller = replace(request, kv_type=KvType.Q8_0)
    card = stated_card(plan(planned, smaller, None).total + 100 * MIB)
    found = plan(planned, request, card, learned)
    assert (plan(planned, smaller, card).max_context or 0) >= request.context
    longest = plan(planned, smaller, card, learned).max_context
    offers = "\n".join(_instead(_Asked("q7", planned, found, (card,), learned)))
    assert longest is not None
    assert longest < request.context
    assert f"{longest:,}" in offers

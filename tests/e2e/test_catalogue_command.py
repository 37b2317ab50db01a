"""`models list` and `models advise` on simulated PCs: the card is read, who holds it is named, the driver limits."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Station
from tests.helpers.words import sentence, text

pytestmark = pytest.mark.e2e


def test_the_card_of_this_pc_is_read(station: Station) -> None:
    done = station.line.call("models", "list", "--json")
    assert done.code == 0
    assert done.err == ""
    card, models = done.json["card"], done.json["models"]
    assert card["name"] == "NVIDIA GeForce RTX 4070"
    assert card["total"] == (12_282 - 234) << 20  # without what the driver keeps
    assert card["bandwidth"] == pytest.approx(504e9, rel=0.01)
    assert {holder["name"] for holder in card["holders"]} == {"msedge.exe", "Discord.exe"}
    assert card["closable"] == (268 + 121) << 20
    best = models[0]
    assert (best["id"], best["fit"]) == ("qwen2.5-14b-instruct-q4_k_m", "now")
    low, high = best["tokens_per_s"]
    assert low < 38 < high  # what this card makes of such a model


def test_advice_in_japanese(station: Station) -> None:
    done = station.line.call("models", "advise", "--lang", "ja")
    assert done.code == 0
    assert text("advice.engine", "ja", engine="llama-server") in done.out
    said = sentence("advice.often_said", "ja", name="Qwen2.5 14B Instruct AWQ", context=8192, card_gib=12)
    assert said.what in done.out
    assert "Qwen2.5 14B Instruct Q4_K_M" in done.out


def test_a_card_that_is_not_there(station: Station) -> None:
    done = station.line.call("models", "list", "--gpu", "7")
    assert done.code == 1
    assert sentence("catalogue.no_card", index=7).what in done.err


@pytest.mark.parametrize("shared_station", ["ollama-holds"], indirect=True)
def test_what_fits_once_ollama_lets_go(station: Station) -> None:
    done = station.line.call("models", "list", "--json")
    kinds = {holder["kind"] for holder in done.json["card"]["holders"]}
    assert "ollama" in kinds
    fits = {model["fit"] for model in done.json["models"]}
    assert fits == {"after_closing", "no"}
    assert text("catalogue.group.after_closing", count=20)[:20] in station.line.call("models", "list").out


@pytest.mark.parametrize("shared_station", ["old-driver"], indirect=True)
def test_vllm_is_not_advised_with_an_old_driver(station: Station) -> None:
    done = station.line.call("models", "advise", "--use", "parallel", "--json")
    assert done.json["engine"] == "llama-server"
    assert done.json["card"]["engines"] == ["llama-server"]
    assert "advice.driver_too_old" in {reason["code"] for reason in done.json["reasons"]}


@pytest.mark.parametrize("shared_station", ["no-driver"], indirect=True)
def test_no_driver_is_told(station: Station) -> None:
    done = station.line.call("models", "list")
    assert (done.code, done.out) == (1, "")
    assert sentence("gpu.no_driver").what in done.err

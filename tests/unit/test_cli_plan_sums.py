"""What `plan` prints adds up for a person who reads the column and the sentence."""

from __future__ import annotations

import re

import pytest

from kotaro_bridge.cli.main import run_command_line

AWQ = "qwen2.5-14b-instruct-awq"


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[dict[str, int], list[int], str]:
    """The rows in MiB, the figures of the sentence, and all of it."""
    assert run_command_line(["plan", *words, "--lang", "en"]) == 0
    out = capsys.readouterr().out
    rows = {name.strip(): _mib(size) for name, size in re.findall(r"(?m)^  (\S.*?)  +([\d,]+) MiB", out)}
    (said,) = [line for line in out.splitlines() if line.startswith("It ")]
    return rows, [_mib(size) for size in re.findall(r"([\d,]+) MiB", said)], out


def _mib(text: str) -> int:
    return int(text.replace(",", ""))


def test_vllm_that_does_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    rows, (needed, free, missing), _ = printed(capsys, AWQ, "--vram", "12.6GiB")
    assert rows["Needed"] == needed
    assert rows["Total"] + rows["Set aside by vLLM"] == pytest.approx(needed, abs=1)
    assert needed - free == pytest.approx(missing, abs=1)


def test_vllm_that_fits(capsys: pytest.CaptureFixture[str]) -> None:
    rows, (needed, free, left), out = printed(capsys, AWQ, "--vram", "24GiB")
    assert rows["Needed"] == needed
    assert free - needed == pytest.approx(left, abs=1)
    assert rows["Total"] + rows["Set aside by vLLM"] == pytest.approx(free, abs=1)
    assert f"{left:,} MiB are left for more KV cache" in out
    assert "the rest of vLLM's budget" in out


def test_several_cards_say_nothing_of_not_being_measured_where_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "qwen2.5-14b-instruct-q4_k_m", "--vram", "12GiB", "--cards", "2")[2]
    assert "never measured" not in out
    assert "never measured" in printed(capsys, AWQ, "--vram", "12GiB", "--cards", "2")[2]

"""The generated picture encoder with the real llama-server (CPU build): it loads, it sees, and the log tells where."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kotaro_bridge.domain.engine.engine_log import Engine, Stream
from kotaro_bridge.domain.engine.placement import PlacementWatch, ReasonCode, Verdict
from kotaro_bridge.domain.model.gguf import read_projector
from kotaro_bridge.host.sample_picture import red_circle_url
from tests.helpers.captures import split_log
from tests.helpers.gguf_header import reader

pytestmark = pytest.mark.e2e

READY_S = 30.0
QUIET = ("--fit", "off", "-c", "2048", "-np", "1", "-lv", "4", "-t", "1", "--cache-ram", "0", "--ctx-checkpoints", "0")


@dataclass(frozen=True, slots=True)
class Seeing:
    """A server that sees pictures, the log so far, and its files."""

    url: str
    log: Path
    projector: Path


@pytest.fixture(scope="module")
def seeing(llama_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeing]:
    folder = tmp_path_factory.mktemp("seeing")
    projector, text, log = (folder / name for name in ("mmproj.gguf", "text.gguf", "log"))
    # As it is run on a machine with a card.
    argv = [sys.executable, "-m", "tests.helpers.tiny_mmproj", str(projector), "--text", str(text)]
    subprocess.run(argv, check=True, cwd=Path(__file__).parents[2])
    where = ("--host", "127.0.0.1", "--port", "0", "--device", "none")
    with log.open("wb") as out:
        files = ("-m", text, "--mmproj", projector)
        process = subprocess.Popen([llama_server, *files, *where, *QUIET], stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + READY_S
        while "listening on " not in (so_far := log.read_text(encoding="utf-8")):
            assert process.poll() is None, so_far
            assert time.monotonic() < deadline, so_far
            time.sleep(0.02)
        yield Seeing(so_far.rpartition("listening on ")[2].split()[0], log, projector)
    finally:
        process.terminate()
        process.wait(10)


def test_a_picture_is_answered(seeing: Seeing) -> None:
    content = [{"type": "image_url", "image_url": {"url": red_circle_url()}}, {"type": "text", "text": "What is this?"}]
    question = {"messages": [{"role": "user", "content": content}], "max_tokens": 8}
    request = urllib.request.Request(  # noqa: S310
        f"{seeing.url}/v1/chat/completions", json.dumps(question).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        answer = json.load(response)
    assert answer["usage"]["completion_tokens"] == 8
    assert answer["usage"]["prompt_tokens"] > 16, "17 patches are tokens too"


def test_the_log_says_cpu(seeing: Seeing) -> None:
    watch = PlacementWatch(Engine.LLAMA_SERVER)
    for line in split_log(seeing.log.read_text(encoding="utf-8"), Stream.STDERR):
        watch.feed(line)
    judgement = watch.judge(ended=False)
    assert judgement.verdict is Verdict.CPU
    vision = [reason for reason in judgement.reasons if reason.code is ReasonCode.VISION_ON_CPU]
    assert [reason.line for reason in vision if reason.line and "CLIP using CPU backend" in reason.line]


def test_the_size_that_is_logged_is_that_of_the_header(seeing: Seeing) -> None:
    data = seeing.projector.read_bytes()
    size = read_projector(reader(data), len(data))
    assert f"load_hparams: model size:         {size / 2**20:.2f} MiB" in seeing.log.read_text(encoding="utf-8")

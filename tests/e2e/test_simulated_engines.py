"""The simulated engines as programs, over real HTTP: what they print, take of the card, answer, and how they end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.engine.log_judge import judge_log
from kotaro_bridge.simulator.card import MIB
from kotaro_bridge.simulator.pc import SimulatedPC
from tests.helpers.simulated import alive, processes_of, simulated_pc, until, wsl

if sys.platform == "win32":
    pytest.skip("the Linux side of the simulated PC needs Linux", allow_module_level=True)

pytestmark = pytest.mark.e2e

HELLO = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
LLAMA = (
    "--device CUDA0 -sm none -mg 0 -ngl all --fit off -fa auto -c 8192 -np 1 --cache-ram 0 --ctx-checkpoints 0 -lv 4 "
    "--log-colors off --metrics --slots -a qwen"
)
VLLM = (
    "--gpu-memory-utilization 0.83 --max-model-len 8192 --max-num-seqs 16 --max-num-batched-tokens 2048 "
    "--served-model-name qwen"
)
SMALL, LARGE = "Qwen2.5-14B-Instruct-Q4_K_M.gguf", "Qwen2.5-32B-Instruct-Q4_K_M.gguf"
AWQ = "Qwen2.5-7B-Instruct-AWQ"


@pytest.fixture
def pc(tmp_path: Path) -> Iterator[SimulatedPC]:
    with simulated_pc(tmp_path / "pc") as opened:
        yield opened


class Run:
    """One engine that was started, with its output in files."""

    def __init__(self, pc: SimulatedPC, engine: Engine, command: list[str], env: dict[str, str] | None) -> None:
        self.engine = engine
        self.out_path, self.err_path = pc.folder / "engine.out", pc.folder / "engine.err"
        with self.out_path.open("wb") as out, self.err_path.open("wb") as err:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        port = command[command.index("--port") + 1]
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)

    @property
    def out(self) -> str:
        return self.out_path.read_text(encoding="utf-8", errors="replace")

    @property
    def err(self) -> str:
        return self.err_path.read_text(encoding="utf-8", errors="replace")

    def health(self) -> int | None:
        """The status of /health, None while nobody listens."""
        try:
            return self.http.get("/health").status_code
        except httpx.ConnectError:
            return None

    def ready(self) -> Run:
        until(lambda: self.health() == 200 or self.process.poll() is not None, what="the engine is ready")
        assert self.process.poll() is None, self.err[-2000:]
        return self

    def ended(self) -> int:
        """The exit code of an engine that ends by itself."""
        return self.process.wait(20)

    def verdict(self) -> str:
        """What the product makes of the log."""
        if self.engine is Engine.VLLM:
            return judge_log(self.engine, self.out, self.err).verdict.value
        return judge_log(self.engine, self.err).verdict.value

    def value(self, name: str) -> float:
        """A number of /metrics; the first line with that name."""
        lines = self.http.get("/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith(name)).rpartition(" ")[2])


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def engine(pc: SimulatedPC, command: list[str], kind: Engine, env: dict[str, str] | None) -> Iterator[Run]:
    """An engine in its own session; it is asked to end, and the session is killed."""
    run = Run(pc, kind, command, env)
    try:
        yield run
    finally:
        run.http.close()
        if run.process.poll() is None:
            run.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.process.wait(1.0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGKILL)
        run.process.wait()


def llama(
    pc: SimulatedPC, flags: str = LLAMA, model: str = SMALL, port: int = 0, env: dict[str, str] | None = None
) -> AbstractContextManager[Run]:
    """llama-server, started as for the target `local`."""
    program = str(pc.home / "llama.cpp/build/bin/llama-server")
    place = ["--host", "127.0.0.1", "--port", str(port or free_port())]
    return engine(
        pc, [program, "-m", str(pc.home / "models" / model), *flags.split(), *place], Engine.LLAMA_SERVER, env
    )


def vllm(
    pc: SimulatedPC, flags: str = VLLM, model: str = AWQ, port: int = 0, env: dict[str, str] | None = None
) -> AbstractContextManager[Run]:
    """vLLM, started as for the target `local`."""
    program = str(pc.home / "vllm/bin/vllm")
    place = ["--host", "127.0.0.1", "--port", str(port or free_port())]
    return engine(pc, [program, "serve", str(pc.home / "models" / model), *flags.split(), *place], Engine.VLLM, env)


def sim(words: str) -> dict[str, str]:
    """The environment of an engine that misbehaves."""
    return {"KOTARO_SIM_ENGINE": words}


def used_mib(pc: SimulatedPC) -> int:
    used = pc.gpu.snapshot()[0].used
    assert used is not None
    return used // MIB


def core_pid(run: Run) -> int:
    """The process titled VLLM::EngineCore among the children of the API server."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and alive(int(entry.name)):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == run.process.pid:
                assert (entry / "cmdline").read_bytes().rstrip(b"\0") == b"VLLM::EngineCore"
                assert (entry / "comm").read_text() == "VLLM::EngineCor\n"
                return int(entry.name)
    raise AssertionError("no EngineCore")


def chunks(run: Run, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a streamed answer; the last one must be the end mark."""
    with run.http.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as answer:
        assert answer.status_code == 200
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


# llama-server


def test_llama_loads_takes_vram_answers_and_stops(pc: SimulatedPC) -> None:
    pc.set(time_scale=0.3)
    seen: set[int] = set()
    with llama(pc) as run:
        until(lambda: run.health() == 503, what="503 while loading")

        def loaded() -> bool:
            seen.add(used_mib(pc))
            return run.health() == 200

        until(loaded, what="the engine is ready")
        assert len(seen) > 3  # VRAM grows in steps
        assert used_mib(pc) - 1050 == 10405  # captures full14
        assert run.verdict() == "gpu"
        whole = run.http.post("/v1/chat/completions", json=HELLO).json()
        assert whole["usage"]["completion_tokens"] == 8
        assert whole["choices"][0]["finish_reason"] == "length"
        assert 30 < whole["timings"]["predicted_per_second"] < 45
        events = chunks(run, {**HELLO, "stream_options": {"include_usage": True}})
        assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": None}
        assert events[-1]["usage"]["completion_tokens"] == 8
        assert events[-1]["timings"]["predicted_n"] == 8
        run.process.terminate()
        assert run.ended() == 0
    assert "cleaning up before exit..." in run.err
    assert "memory breakdown [MiB]" in run.err
    assert used_mib(pc) == 1050


def test_llama_counters_move_when_a_request_ends_and_slots_before(pc: SimulatedPC) -> None:
    with llama(pc) as run:
        run.ready()
        body = {**HELLO, "max_tokens": 40}
        request = threading.Thread(target=lambda: run.http.post("/v1/chat/completions", json=body))
        request.start()
        decoded: set[int] = set()

        def watched() -> bool:
            (slot,) = run.http.get("/slots").json()
            if slot["is_processing"]:
                assert run.value("llamacpp:tokens_predicted_total") == 0
                assert run.value("llamacpp:requests_processing") in (0, 1)
                decoded.add(slot["next_token"][0]["n_decoded"])
                assert pc.gpu.snapshot()[0].utilization == 0.75
            return len(decoded) >= 4

        until(watched, what="n_decoded moves during the answer")
        request.join()
        assert run.value("llamacpp:tokens_predicted_total") == 40
        assert run.value("llamacpp:predicted_tokens_seconds") == 0  # the read before has reset the average
        assert run.value("llamacpp:n_decode_total") == 41
        assert pc.gpu.snapshot()[0].utilization == 0


def test_llama_other_routes(pc: SimulatedPC) -> None:
    with llama(pc, "-lv 4 -c 4096 -np 2 --no-slots") as run:
        run.ready()
        props = run.http.get("/props").json()
        assert (props["total_slots"], props["default_generation_settings"]["n_ctx"]) == (2, 2048)
        (entry,) = run.http.get("/v1/models").json()["data"]
        assert (entry["id"], entry["meta"]["n_params"]) == (SMALL, 14_770_033_664)
        assert run.http.get("/nope").json() == {
            "error": {"message": "File Not Found", "type": "not_found_error", "code": 404}
        }
        assert run.http.get("/slots").status_code == 501
        assert run.http.get("/metrics").status_code == 501
        assert run.http.post("/v1/chat/completions", json={}).json()["error"]["message"] == "'messages' is required"
        assert run.http.post("/v1/chat/completions", content=b"{bad").status_code == 500
        image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]
        answer = run.http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": image}]})
        assert answer.status_code == 500
        assert "you may need to provide the mmproj" in answer.text


@pytest.mark.parametrize("given", ["option", "variable", "file"])
def test_llama_asks_for_its_key(pc: SimulatedPC, given: str) -> None:
    keys = pc.folder / "keys"
    keys.write_text("# comment\ns3cret\n", encoding="utf-8")
    flags = {"option": f"{LLAMA} --api-key x,s3cret", "variable": LLAMA, "file": f"{LLAMA} --api-key-file {keys}"}
    env = {"LLAMA_API_KEY": "s3cret"} if given == "variable" else {}
    with llama(pc, flags[given], env=env) as run:
        run.ready()  # /health is public
        for path in ("/metrics", "/slots", "/props", "/v1/models"):
            refused = run.http.get(path)
            assert refused.status_code == 401
            assert refused.json()["error"]["message"] == "Invalid API Key"
            assert run.http.get(path, headers={"Authorization": "Bearer s3cret"}).status_code == 200
        assert run.http.get("/slots", headers={"X-Api-Key": "s3cret"}).status_code == 200
    assert "security: no API key is set" not in run.err


def test_llama_serves_more_requests_than_slots_one_after_the_other(pc: SimulatedPC) -> None:
    with llama(pc) as run:
        run.ready()
        answers: list[int] = []
        body = {**HELLO, "max_tokens": 20}
        threads = [
            threading.Thread(
                target=lambda: answers.append(run.http.post("/v1/chat/completions", json=body).status_code)
            )
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        until(lambda: run.value("llamacpp:requests_deferred") > 0, what="a request waits")
        for thread in threads:
            thread.join()
        assert answers == [200, 200, 200]


def test_a_client_that_leaves_frees_its_slot(pc: SimulatedPC) -> None:
    with llama(pc) as run:
        run.ready()
        body = {**HELLO, "max_tokens": 5000, "ignore_eos": True, "stream": True}
        with run.http.stream("POST", "/v1/chat/completions", json=body) as answer:
            next(answer.iter_lines())
        until(lambda: not run.http.get("/slots").json()[0]["is_processing"], what="the slot is free again")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.gguf", None, "failed to open GGUF file"),
        ("junk.gguf", b"\x00\x01c\x02junk", "invalid magic characters: '??c?', expected 'GGUF'"),
        ("cut.gguf", 200, "failed to read key-value pairs"),
        ("short.gguf", 40_000_000, "data is not within the file bounds, model is corrupted or incomplete"),
    ],
)
def test_llama_with_a_bad_file(pc: SimulatedPC, name: str, content: bytes | int | None, words: str) -> None:
    path = pc.home / "models" / name
    if isinstance(content, int):
        with (pc.home / "models" / SMALL).open("rb") as whole, path.open("wb") as part:
            part.write(whole.read(min(content, 100_000)))
            part.truncate(content)
    elif content is not None:
        path.write_bytes(content)
    with llama(pc, model=name) as run:
        assert run.ended() == 1
    assert words in run.err
    assert run.verdict() == "failed"


def test_a_port_that_is_taken(pc: SimulatedPC) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with llama(pc, port=port) as run:
            assert run.ended() == 1
        assert f"couldn't bind HTTP server socket, hostname: 127.0.0.1, port: {port}" in run.err
        with vllm(pc, port=port) as run:
            assert run.ended() == 1
        assert "OSError: [Errno 98] Address already in use" in run.err


def test_a_model_too_large_for_the_card(pc: SimulatedPC) -> None:
    with llama(pc, model=LARGE) as run:
        assert run.ended() == 1
    assert "cudaMalloc failed: out of memory" in run.err
    assert used_mib(pc) == 1050


def test_a_context_too_large_for_the_card(pc: SimulatedPC) -> None:
    with llama(pc, LLAMA.replace("8192", "32768")) as run:
        assert run.ended() == 1
    assert "failed to allocate buffer for kv cache" in run.err


@pytest.mark.parametrize(
    ("word", "flags", "expected"),
    [
        ("partial", LLAMA, "partial"),
        ("kv-in-ram", LLAMA, "partial"),
        ("cpu", LLAMA.replace("--device CUDA0", ""), "cpu"),
        ("cpu-build", LLAMA.replace("--device CUDA0", ""), "cpu"),
        ("half-utf8", LLAMA, "gpu"),
        ("flood:5000", LLAMA, "gpu"),
    ],
)
def test_llama_that_is_healthy_all_the_same(pc: SimulatedPC, word: str, flags: str, expected: str) -> None:
    with llama(pc, flags, env=sim(word)) as run:
        run.ready()
        assert run.verdict() == expected
        speed = run.http.post("/v1/chat/completions", json={**HELLO, "max_tokens": 3}).json()["timings"]
        if expected != "gpu":
            assert speed["predicted_per_second"] < 20
        run.process.terminate()
        assert run.ended() == 0


def test_llama_without_a_device(tmp_path: Path) -> None:
    with simulated_pc(tmp_path / "pc", "cpu-build") as pc:
        with llama(pc) as run:
            assert run.ended() == 1
        assert run.err.startswith('error while handling argument "--device": invalid device: CUDA0\n')
        program = pc.home / "llama.cpp/build/bin/llama-server"
        for hidden in ({}, {"CUDA_VISIBLE_DEVICES": ""}):
            listed = subprocess.run(
                [program, "--list-devices"], capture_output=True, env={**os.environ, **hidden}, check=True
            )
            assert listed.stdout == b"Available devices:\n  (none)\n"
            pc.set(engine="")
    with simulated_pc(tmp_path / "other") as pc:
        program = pc.home / "llama.cpp/build/bin/llama-server"
        listed = subprocess.run([program, "--list-devices"], capture_output=True, check=True)
        assert listed.stdout == b"Available devices:\n  CUDA0: NVIDIA GeForce RTX 4070 (12048 MiB, 10473 MiB free)\n"
        versions = subprocess.run([program, "--version"], capture_output=True, check=True)
        assert versions.stderr.startswith(b"version: 0.5.0-dev")
        vllm_version = subprocess.run([pc.home / "vllm/bin/vllm", "--version"], capture_output=True, check=True)
        assert vllm_version.stdout == b"0.25.0\n"


def test_llama_killed_while_it_loads(pc: SimulatedPC) -> None:
    pc.set(time_scale=5.0)
    with llama(pc) as run:
        until(lambda: run.health() == 503, what="it loads")
        run.process.terminate()
        assert run.ended() == -signal.SIGTERM
    assert "cleaning up" not in run.err


def test_a_second_interrupt(pc: SimulatedPC) -> None:
    with llama(pc, env=sim("ignore-term")) as run:
        run.ready()
        run.process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            run.process.wait(0.5)
        run.process.send_signal(signal.SIGINT)
        assert run.ended() == 0


def test_spill(tmp_path: Path) -> None:
    with simulated_pc(tmp_path / "pc", "spill") as pc, llama(pc) as run:
        run.ready()
        assert run.verdict() == "gpu"
        assert used_mib(pc) == 1050 + 7000
        counters = pc.counters.read()
        assert counters is not None
        assert counters.shared is not None
        assert counters.shared // MIB == 190 + 10405 - 7000 + 28
        answer = run.http.post("/v1/chat/completions", json={**HELLO, "max_tokens": 3}).json()
        assert answer["timings"]["predicted_per_second"] < 6


@pytest.mark.parametrize(
    ("scenario", "code", "words"),
    [("engine-oom", 1, "cudaMalloc failed"), ("host-oom", -signal.SIGKILL, "load_tensors: offloaded 49/49")],
)
def test_llama_that_dies_while_it_loads(tmp_path: Path, scenario: str, code: int, words: str) -> None:
    with simulated_pc(tmp_path / "pc", scenario) as pc:
        assert used_mib(pc) == 1050
        with llama(pc) as run:
            assert run.ended() == code
        assert words in run.err
        assert used_mib(pc) == 1050


def test_misbehaviour_around_the_start_and_the_end(pc: SimulatedPC) -> None:
    with llama(pc, env=sim("exit-at-once")) as run:
        assert (run.ended(), run.err) == (1, "")
    with llama(pc, env=sim("crash:0.2")) as run:
        run.ready()
        assert run.ended() == -signal.SIGABRT
    assert "CUDA error: an illegal memory access" in run.err
    with llama(pc, env=sim("never-ready")) as run:
        until(lambda: "preserve_reasoning kwarg" in run.err, what="it has loaded")
        assert run.health() == 503
        run.process.terminate()
        assert run.ended() == -signal.SIGTERM
    with llama(pc, env=sim("fork-child-keeps-pipe,counters-go-back")) as run:
        run.ready()
        run.http.post("/v1/chat/completions", json=HELLO)
        values = [run.value("llamacpp:tokens_predicted_total") for _ in range(4)]
        assert sorted(values) != values
        run.process.terminate()
        assert run.ended() == 0
        assert len(processes_of(pc.folder)) == 1  # the child lives on, in the session
        os.killpg(run.process.pid, signal.SIGKILL)


def test_an_engine_under_wsl_dies_with_the_hangup(pc: SimulatedPC) -> None:
    port = free_port()
    program = str(pc.home / "llama.cpp/build/bin/llama-server")
    arguments = ["-m", str(pc.home / "models" / SMALL), *LLAMA.split(), "--port", str(port)]
    with engine(pc, [*pc.wsl_argv, "-d", "Ubuntu", "--exec", program, *arguments], Engine.LLAMA_SERVER, pc.env) as run:
        run.ready()
        assert used_mib(pc) == 1050 + 10405
        run.process.kill()
        until(lambda: used_mib(pc) == 1050, what="the VRAM is free again")
    assert wsl(pc, "--shutdown").returncode == 0


# vLLM


def test_vllm_loads_takes_vram_answers_and_stops(pc: SimulatedPC) -> None:
    pc.set(time_scale=0.1)
    with vllm(pc) as run:
        codes: set[int | None] = set()

        def answers() -> bool:
            codes.add(run.health())
            return 200 in codes

        until(answers, what="the engine is ready")
        assert codes == {None, 200}  # connection refused until it is ready
        assert run.http.get("/health").content == b""
        assert run.verdict() == "gpu"
        # budget: weights 5.38 GiB + KV cache + graphs 0.13 GiB + 1162 MiB
        assert used_mib(pc) - 1050 == pytest.approx(9543, abs=5)
        assert run.http.get("/version").json() == {"version": "0.25.0"}
        assert run.http.get("/load").json() == {"server_load": 0}
        (entry,) = run.http.get("/v1/models").json()["data"]
        assert (entry["id"], entry["max_model_len"]) == ("qwen", 8192)
        before = run.value("vllm:generation_tokens_total")
        whole = run.http.post("/v1/chat/completions", json={**HELLO, "model": "qwen"}).json()
        assert whole["usage"]["completion_tokens"] == 8
        events = chunks(run, {**HELLO, "stream_options": {"include_usage": True}})
        assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert events[-1]["usage"]["completion_tokens"] == 8
        assert run.value("vllm:generation_tokens_total") == before + 16
        assert run.value('vllm:request_success_total{engine="0",finished_reason="length"') == 2
        core = core_pid(run)
        run.process.terminate()
        assert run.ended() == 0
        assert not alive(core)
    assert "[shutdown] EngineCore: exiting busy loop" in run.out
    assert "Application shutdown complete." in run.err
    assert used_mib(pc) == 1050


def test_vllm_counters_move_with_every_token(pc: SimulatedPC) -> None:
    with vllm(pc) as run:
        run.ready()
        body = {**HELLO, "max_tokens": 60}
        request = threading.Thread(target=lambda: run.http.post("/v1/chat/completions", json=body))
        request.start()
        values: set[float] = set()

        def moves() -> bool:
            values.add(run.value("vllm:generation_tokens_total"))
            return len(values) > 3

        until(moves, what="the counter moves during the answer")
        assert run.value("vllm:num_requests_running") == 1
        until(lambda: (pc.gpu.snapshot()[0].utilization or 0) > 0.5, what="the card is busy")
        request.join()
        until(lambda: pc.gpu.snapshot()[0].utilization == 0, what="the card rests")


def test_vllm_engine_core_survives_a_killed_server_and_keeps_the_vram(pc: SimulatedPC) -> None:
    with vllm(pc) as run:
        run.ready()
        core = core_pid(run)
        before = used_mib(pc)
        run.process.kill()
        run.process.wait()
        assert run.health() is None  # the port is free: it looks stopped
        assert alive(core)
        assert used_mib(pc) == before
        os.kill(core, signal.SIGTERM)
        until(lambda: used_mib(pc) == 1050, what="the VRAM is free")


def test_vllm_key_and_errors(pc: SimulatedPC) -> None:
    with vllm(pc, env={"VLLM_API_KEY": "s3cret"}) as run:
        run.ready()
        refused = run.http.get("/v1/models")
        assert (refused.status_code, refused.json()) == (401, {"error": "Unauthorized"})
        assert run.http.get("/metrics").status_code == 200
        run.http.headers["Authorization"] = "Bearer s3cret"
        wrong = run.http.post("/v1/chat/completions", json={**HELLO, "model": "nope"})
        assert wrong.status_code == 404
        assert wrong.json()["error"]["message"] == "The model `nope` does not exist."
        assert run.http.post("/v1/chat/completions", json={}).status_code == 400
        assert run.http.get("/nope").status_code == 404
        image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]
        answer = run.http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": image}]})
        assert answer.status_code == 400
    assert '"GET /v1/models HTTP/1.1" 401 Unauthorized' in run.out


def test_minicpm_sees_the_image(tmp_path: Path) -> None:
    flags = '--trust-remote-code --gpu-memory-utilization 0.9 --max-model-len 4096 --limit-mm-per-prompt {"image":1}'
    with simulated_pc(tmp_path / "pc", "rtx4090-24gb") as pc:
        with vllm(pc, flags, "MiniCPM-V-2_6") as run:
            run.ready()
            part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
            content = [{"type": "text", "text": "What is it?"}, part]
            body = {"messages": [{"role": "user", "content": content}]}
            text = run.http.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]
            assert text.startswith("I can see the image you attached: it is a picture, image/png.")
        with vllm(pc, flags.replace("--trust-remote-code", ""), "MiniCPM-V-2_6") as run:
            assert run.ended() == 1
        assert "trust_remote_code=True" in run.err


@pytest.mark.parametrize(
    ("flags", "model", "words"),
    [
        (VLLM.replace("0.83", "0.97"), AWQ, "on startup is less than desired GPU memory utilization (0.97, 11.41 GiB)"),
        (VLLM.replace("0.83", "0.5"), AWQ, "No available memory for the cache blocks."),
        (
            VLLM.replace("0.83", "0.85").replace("8192", "16384"),
            "Qwen2.5-14B-Instruct-AWQ",
            "No available memory for the cache blocks.",
        ),
        (VLLM.replace("0.83", "0.62"), AWQ, "the model's max seq len (8192), (0.44 GiB KV cache is needed"),
        (VLLM.replace("8192", "99999"), AWQ, "User-specified max_model_len (99999) is greater than the derived"),
        (VLLM, "not-there", "Invalid repository ID or local directory specified"),
    ],
)
def test_vllm_that_does_not_start(pc: SimulatedPC, flags: str, model: str, words: str) -> None:
    with vllm(pc, flags, model) as run:
        assert run.ended() == 1
    assert words in run.out + run.err
    assert run.verdict() == "failed"
    assert used_mib(pc) == 1050


def test_vllm_wrong_argument(pc: SimulatedPC) -> None:
    with vllm(pc, VLLM + " --swap-space 4") as run:
        assert run.ended() == 2
    assert "unrecognized arguments: --swap-space 4" in run.err


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("engine-oom", "torch.OutOfMemoryError: CUDA out of memory."),
        ("host-oom", "Failed core proc(s): {'EngineCore_DP0': -9}"),
        ("cpu-build", "RuntimeError: Failed to infer device type"),
        ("no-gpu-in-wsl", "RuntimeError: Failed to infer device type"),
    ],
)
def test_vllm_in_the_scenarios_of_trouble(tmp_path: Path, scenario: str, words: str) -> None:
    with simulated_pc(tmp_path / "pc", scenario) as pc:
        with vllm(pc) as run:
            assert run.ended() == 1
        assert words in run.out + run.err
        assert run.verdict() == "failed"


@pytest.mark.parametrize(
    ("word", "expected"),
    [("partial", "partial"), ("kv-in-ram", "partial"), ("half-utf8", "gpu"), ("flood:5000", "gpu")],
)
def test_vllm_that_is_healthy_all_the_same(pc: SimulatedPC, word: str, expected: str) -> None:
    with vllm(pc, env=sim(word)) as run:
        run.ready()
        assert run.verdict() == expected


def test_vllm_in_eager_mode(pc: SimulatedPC) -> None:
    with vllm(pc, VLLM + " --enforce-eager") as run:
        run.ready()
        assert "Cudagraph is disabled under eager mode" in run.out
        assert "Capturing CUDA graphs" not in run.err
        assert run.verdict() == "gpu"


def test_vllm_interrupted_while_it_loads(pc: SimulatedPC) -> None:
    pc.set(time_scale=1.0)
    with vllm(pc) as run:
        until(lambda: "Using max model len" in run.out, what="it loads")
        until(lambda: used_mib(pc) > 1050, what="the engine has the card")
        run.process.terminate()
        assert run.ended() == 130
        until(lambda: used_mib(pc) == 1050, what="the engine is gone too")


def test_vllm_engine_that_dies_takes_the_server_along_with_code_0(pc: SimulatedPC) -> None:
    with vllm(pc, env=sim("crash:0.3")) as run:
        run.ready()
        assert run.ended() == 0
    assert "died unexpectedly" in run.out


def test_vllm_dead_engine_answers_503(pc: SimulatedPC) -> None:
    with vllm(pc) as run:
        run.ready()
        pc.set(time_scale=1.0)
        os.kill(core_pid(run), signal.SIGKILL)
        until(lambda: run.health() == 503, what="health tells")
        assert run.http.post("/v1/chat/completions", json=HELLO).status_code == 500


def test_vllm_never_ready_and_deaf(pc: SimulatedPC) -> None:
    with vllm(pc, env=sim("never-ready")) as run:
        until(lambda: "init engine" in run.out, what="it has loaded")
        assert run.health() is None
        run.process.terminate()
        assert run.ended() == 130
    with vllm(pc, env=sim("ignore-term,counters-go-back,fork-child-keeps-pipe")) as run:
        run.ready()
        run.http.post("/v1/chat/completions", json=HELLO)
        values = [run.value("vllm:generation_tokens_total") for _ in range(4)]
        assert sorted(values) != values
        run.process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            run.process.wait(0.5)
        run.process.send_signal(signal.SIGINT)
        until(lambda: "[shutdown] API server: shutdown triggered" in run.out, what="SIGINT stops the server")

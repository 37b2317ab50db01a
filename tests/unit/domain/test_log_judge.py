"""Logs that people have lying around: kept by other programs, of old builds, with several starts, or no logs at all."""

from __future__ import annotations

import pytest

from kotaro_bridge.domain.engine.engine_log import Engine, Stream
from kotaro_bridge.domain.engine.log_judge import JudgedLog, judge_log, judge_rows
from kotaro_bridge.domain.engine.log_rows import unwrapped
from kotaro_bridge.domain.engine.placement import ReasonCode, Verdict
from tests.helpers.captures import llama_text, long_log, vllm_text
from tests.unit.domain.test_placement_vllm import READY as VLLM_READY
from tests.unit.domain.test_placement_vllm import V033

C = ReasonCode
LLAMA, VLLM = Engine.LLAMA_SERVER, Engine.VLLM
WRAPPERS = {
    "journald": "Nov 21 12:00:01 pc llama-server[1234]: ",
    "journald, one digit": "Nov  1 12:00:01 my-pc.local user@1000.service[7]: ",
    "journald iso": "2026-11-21T12:00:01+0900 pc llama[1]: ",
    "journald precise": "2026-11-21T12:00:01.123456+09:00 pc llama[1]: ",
    "docker compose": "llama-server-1  | ",
    "docker compose with time": "llama-1  | 2026-11-21T12:00:01.123456789Z ",
    "docker -t": "2026-11-21T12:00:01.123456789Z ",
    "kubernetes": "2026-11-21T12:00:01.123Z stderr F ",
    "a time": "2026-11-21 12:00:01,123 ",
    "LM Studio": "[2026-11-21 12:00:01][DEBUG] ",
    "LM Studio server": "[2026-11-21 12:00:01][INFO][LM STUDIO SERVER] ",
    "colours": "\x1b[34m",
    "colours and a time": "\x1b[1;32m2026-11-21 12:00:01\x1b[0m ",
    "title": "\x1b]0;llama\x07",
}


def wrapped(text: str, prefix: str) -> list[str]:
    return [prefix + row for row in text.split("\n")]


def verdict(engine: Engine, rows: list[str]) -> tuple[Verdict, list[ReasonCode]]:
    judgement = judge_rows(engine, rows).judgement
    return judgement.verdict, [reason.code for reason in judgement.reasons]


@pytest.mark.parametrize("prefix", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("name", ["full14-lv4", "nokvoffload", "cuda-hidden", "portused", "full14-default-lv"])
def test_what_stands_in_front_changes_nothing(name: str, prefix: str) -> None:
    plain = judge_log(LLAMA, llama_text(name))
    kept = judge_rows(LLAMA, wrapped(llama_text(name), prefix)).judgement
    assert kept == plain


@pytest.mark.parametrize("prefix", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("name", ["q14", "kvsmall"])
def test_what_stands_in_front_of_vllm_changes_nothing(name: str, prefix: str) -> None:
    text = vllm_text(name, Stream.STDOUT) or ""
    assert judge_rows(VLLM, wrapped(text, prefix)).judgement == judge_log(VLLM, text)


@pytest.mark.parametrize(
    "row",
    [
        "0.02.258.017 I srv    load_model: initializing",
        "20.02.258.017 I srv    load_model: initializing",
        "(EngineCore pid=1) INFO 11-21 19:19:48 [file.py:1] text",
        "load_tensors:        CUDA0 model buffer size =  8148.38 MiB",
        "  - CUDA0   : NVIDIA (81079 MiB, 80552 MiB free)",
        "common_memory_breakdown_print: |   - CUDA0 (H100 80GB HBM3) | 81079 = 80552 |",
        "2026-11-21 is a day",
        "Nov 21 without a time",
        "",
    ],
)
def test_what_engines_print_stays(row: str) -> None:
    assert unwrapped(row) == row


def test_colours_within_a_row() -> None:
    coloured = "\x1b[34m0.00.1\x1b[0m \x1b[32mI\x1b[0m load_tensors:\x1b[K done"
    assert unwrapped(coloured) == "0.00.1 I load_tensors: done"


def test_windows_row_ends() -> None:
    text = llama_text("full14-lv4")
    judged = judge_rows(LLAMA, text.replace("\n", "\r\n").split("\n"))
    assert judged.judgement == judge_log(LLAMA, text)


def test_lines_are_numbered_as_an_editor_does() -> None:
    """A progress bar overwrites itself: each of its states is a line, and all have the number of the row."""
    text = llama_text("full14-lv4")
    rows = [*text.split("\n"), "bar 0%\rload_tensors: offloaded 48/49 layers to GPU\rbar 100%", ""]
    (reason,) = judge_rows(LLAMA, rows).judgement.reasons
    assert (reason.line_no, reason.line) == (len(rows) - 1, "load_tensors: offloaded 48/49 layers to GPU")


class TestSeveralStarts:
    good, bad = llama_text("full14-lv4"), llama_text("nokvoffload")

    def judge(self, *texts: str) -> JudgedLog:
        return judge_rows(LLAMA, "\n".join(texts).split("\n"))

    @pytest.mark.parametrize(
        "name", ["nokvoffload", "portused", "full14-default-lv", "cuda-hidden", "junk", "partial20"]
    )
    def test_the_last_one_is_judged(self, name: str) -> None:
        other = llama_text(name)
        rows = other.count("\n") + 1
        judged = self.judge(other, self.good)
        assert judged.judgement.verdict is Verdict.GPU
        assert judged.judgement.facts == judge_log(LLAMA, self.good).facts
        assert (judged.starts, judged.first_line, judged.last_line) == (2, rows + 1, rows + self.good.count("\n") + 1)
        judged = self.judge(self.good, other)
        alone = judge_log(LLAMA, other)
        assert judged.judgement.verdict is alone.verdict
        assert [reason.code for reason in judged.judgement.reasons] == [reason.code for reason in alone.reasons]
        assert judged.starts == 2

    def test_three_and_the_line_numbers_of_the_file(self) -> None:
        judged = self.judge(self.good, self.good, self.bad)
        assert judged.starts == 3
        (kv, *_rest) = judged.judgement.reasons
        assert kv.code is C.KV_ON_CPU
        assert kv.line_no is not None
        assert kv.line_no > judged.first_line > 2 * self.good.count("\n")

    def test_a_start_that_only_began(self) -> None:
        begun = "\n".join(self.bad.split("\n")[:4])
        judged = self.judge(self.good, begun)
        assert (judged.judgement.verdict, judged.starts) == (Verdict.UNKNOWN, 2)
        judged = self.judge(begun, self.good)
        assert (judged.judgement.verdict, judged.starts) == (Verdict.GPU, 1), "it had shown nothing"

    def test_one_is_one(self) -> None:
        judged = self.judge(self.good)
        assert (judged.starts, judged.first_line, judged.last_line) == (1, 1, self.good.count("\n") + 1)

    def test_vllm(self) -> None:
        good, bad = (vllm_text(name, Stream.STDOUT) or "" for name in ("q14", "kvsmall"))
        both = judge_rows(VLLM, f"{bad}\n{good}".split("\n"))
        assert (both.judgement.verdict, both.starts) == (Verdict.GPU, 2)
        both = judge_rows(VLLM, f"{good}\n{bad}".split("\n"))
        assert (both.judgement.verdict, both.starts) == (Verdict.FAILED, 2)

    def test_the_ready_line_of_an_earlier_start_does_not_count(self) -> None:
        """Stderr is kept apart and grows too; nothing in it names the start."""
        rows = list(V033.values())
        unready = [row for row in rows if row != V033["starting"]]
        err = ["noise", VLLM_READY, "(EngineCore pid=20) bar 1%"]
        assert judge_rows(VLLM, [*rows, *rows], [*err, *err]).judgement.verdict is Verdict.GPU
        assert judge_rows(VLLM, [*rows, *unready], err).judgement.verdict is Verdict.UNKNOWN
        failed = "(APIServer pid=10) RuntimeError: Engine core initialization failed. See root cause above."
        assert judge_rows(VLLM, [*rows, *unready], [*err, failed]).judgement.verdict is Verdict.FAILED
        assert judge_rows(VLLM, [*unready, *rows], [failed, *err]).judgement.verdict is Verdict.GPU
        assert judge_rows(VLLM, [*rows, *rows], ["noise"]).judgement.verdict is Verdict.UNKNOWN


# Built after the message forms of reference llama-server §8 and public logs of 2024: not recorded.
OLD = """\
build: 4000 (abcdef12) with cc (Ubuntu 13.2.0) 13.2.0 for x86_64-linux-gnu
ggml_cuda_init: GGML_CUDA_FORCE_MMQ:    no
ggml_cuda_init: found 1 CUDA devices:
  Device 0: NVIDIA GeForce RTX 3090, compute capability 8.6, VMM: yes
main: HTTP server is listening, hostname: 127.0.0.1, port: 8080, http threads: 15
llama_model_loader: loaded meta data with 20 key-value pairs and 291 tensors from m.gguf (version GGUF V3 (latest))
llama_model_loader: - type  f32:   65 tensors
llama_model_loader: - type q4_K:  226 tensors
llm_load_print_meta: n_vocab          = 32000
llm_load_print_meta: n_embd           = 4096
llm_load_print_meta: n_layer          = 32
llm_load_print_meta: model size       = 3.56 GiB (4.54 BPW)
llm_load_tensors: offloading 32 repeating layers to GPU
llm_load_tensors: offloaded 33/33 layers to GPU
llm_load_tensors:        CPU buffer size =    70.31 MiB
llm_load_tensors:      CUDA0 buffer size =  3577.56 MiB
llama_new_context_with_model: n_ctx      = 4096
llama_kv_cache_init:      CUDA0 KV buffer size =  2048.00 MiB
llama_new_context_with_model: KV self size  = 2048.00 MiB, K (f16): 1024.00 MiB, V (f16): 1024.00 MiB
llama_new_context_with_model:  CUDA_Host  output buffer size =     0.24 MiB
llama_new_context_with_model:      CUDA0 compute buffer size =   296.00 MiB
llama_new_context_with_model:  CUDA_Host compute buffer size =    16.01 MiB
llama_new_context_with_model: graph nodes  = 1030
llama_new_context_with_model: graph splits = 2
main: model loaded
main: server is listening on http://127.0.0.1:8080 - starting the main loop"""


class TestOldBuilds:
    def test_whole_on_the_gpu(self) -> None:
        assert verdict(LLAMA, OLD.split("\n")) == (Verdict.GPU, [])

    def test_a_server_of_2024(self) -> None:
        rows = OLD.replace("main: server is listening on", "request to").split("\n")
        told = 'INFO [                    main] model loaded | tid="1" timestamp=1'
        assert verdict(LLAMA, rows) == (Verdict.UNKNOWN, [C.NOT_READY])
        assert verdict(LLAMA, [*rows, told]) == (Verdict.GPU, [])

    @pytest.mark.parametrize(
        ("part", "missing"),
        [
            ("ggml_cuda_init: found", "device,weights,compute"),
            ("offloaded 33/33", "layers"),
            ("CUDA0 buffer size", "weights"),
            ("CPU buffer size", "host_weights"),
            ("CUDA0 KV buffer", "kv"),
            ("KV self size", "kv_total"),
            ("CUDA0 compute", "compute"),
            ("graph splits", "splits"),
        ],
    )
    def test_what_is_missing_is_named_and_no_flag(self, part: str, missing: str) -> None:
        """They printed all of it by themselves: `-lv 4` would change nothing."""
        judgement = judge_log(LLAMA, "\n".join(row for row in OLD.split("\n") if part not in row))
        assert judgement.verdict is Verdict.UNKNOWN
        (reason,) = judgement.reasons
        assert (reason.code, reason.params) == (C.EVIDENCE_MISSING, {"missing": missing})

    def test_which_of_two_cards_is_not_guessed(self) -> None:
        rows = OLD.replace("found 1 CUDA", "found 2 CUDA").split("\n")
        assert verdict(LLAMA, rows) == (Verdict.UNKNOWN, [C.EVIDENCE_MISSING])

    def test_partly_on_the_cpu(self) -> None:
        rows = OLD.replace("offloaded 33/33", "offloaded 20/33").replace("graph splits = 2", "graph splits = 136")
        assert verdict(LLAMA, rows.split("\n")) == (Verdict.PARTIAL, [C.LAYERS_ON_CPU, C.SPLITS_TOO_MANY])

    def test_a_second_start_of_it(self) -> None:
        partial = OLD.replace("offloaded 33/33", "offloaded 20/33")
        assert verdict(LLAMA, [*partial.split("\n"), *OLD.split("\n")]) == (Verdict.GPU, [])
        judged = judge_rows(LLAMA, [*OLD.split("\n"), *partial.split("\n")])
        assert (judged.judgement.verdict, judged.starts) == (Verdict.PARTIAL, 2)

    def test_cuda_that_fails_ahead_of_the_banner_belongs_to_the_next_start(self) -> None:
        ahead = "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected"
        judged = judge_rows(LLAMA, [*OLD.split("\n"), ahead, *OLD.split("\n")])
        assert judged.judgement.verdict is not Verdict.GPU
        assert (judged.starts, judged.first_line) == (2, OLD.count("\n") + 2)


class TestOllama:
    """Its own lines stand between those of llama.cpp; which they are is from public logs, not recorded."""

    begin = (
        'time=2026-11-21T12:00:01.000+09:00 level=INFO source=server.go:438 msg="starting llama server" cmd="ollama"'
    )
    runner = 'time=2026-11-21T12:00:01.100+09:00 level=INFO source=runner.go:815 msg="starting go runner"'
    ready = (
        'time=2026-11-21T12:00:03.000+09:00 level=INFO source=server.go:637 msg="llama runner started in 2.01 seconds"'
    )
    lines = OLD.split("\n")[5:-2]
    cuda = "ggml_cuda_init: found 1 CUDA devices:"
    vocabulary = "llama_model_loader: loaded meta data with 20 key-value pairs and 291 tensors from m.gguf"

    def rows(self, *lines: str) -> list[str]:
        return [self.vocabulary, self.begin, self.runner, self.cuda, *lines, self.ready]

    def test_whole_on_the_gpu(self) -> None:
        assert verdict(LLAMA, self.rows(*self.lines)) == (Verdict.GPU, [])
        assert verdict(LLAMA, wrapped("\n".join(self.rows(*self.lines)), WRAPPERS["journald"])) == (Verdict.GPU, [])

    def test_partly_on_the_cpu(self) -> None:
        lines = [row.replace("offloaded 33/33", "offloaded 20/33") for row in self.lines]
        assert verdict(LLAMA, self.rows(*lines)) == (Verdict.PARTIAL, [C.LAYERS_ON_CPU])

    def test_the_last_model_that_was_loaded(self) -> None:
        lines = [row.replace("offloaded 33/33", "offloaded 20/33") for row in self.lines]
        assert verdict(LLAMA, [*self.rows(*lines), *self.rows(*self.lines)]) == (Verdict.GPU, [])

    def test_still_loading(self) -> None:
        assert verdict(LLAMA, self.rows(*self.lines)[:-1]) == (Verdict.UNKNOWN, [C.NOT_READY])


class TestNoLogOfThisEngine:
    @pytest.mark.parametrize("name", ["q14", "kvsmall", "p32awq_24g"])
    def test_a_vllm_log(self, name: str) -> None:
        judgement = judge_log(LLAMA, vllm_text(name, Stream.STDOUT) or "")
        (reason,) = judgement.reasons
        assert judgement.verdict is Verdict.UNKNOWN
        assert (reason.code, reason.params) == (C.OTHER_ENGINE, {"engine": "vllm"})

    @pytest.mark.parametrize("name", ["full14", "full14-default-lv", "partial20", "starve-ngl999-fitoff"])
    def test_a_llama_server_log(self, name: str) -> None:
        judgement = judge_log(VLLM, llama_text(name))
        (reason,) = judgement.reasons
        assert judgement.verdict is Verdict.UNKNOWN
        assert (reason.code, reason.params) == (C.OTHER_ENGINE, {"engine": "llama-server"})

    def test_a_line_of_the_other_engine_among_the_own_says_nothing(self) -> None:
        text = f"{llama_text('full14-lv4')}\n{V033['args']}"
        assert judge_log(LLAMA, text).verdict is Verdict.GPU
        assert judge_log(LLAMA, llama_text("full14-default-lv")).reasons[0].code is C.PLACEMENT_NOT_LOGGED

    @pytest.mark.parametrize("engine", Engine)
    def test_zeros(self, engine: Engine) -> None:
        assert [reason.code for reason in judge_log(engine, "\0" * 5000).reasons] == [C.NOT_A_LOG]

    @pytest.mark.parametrize("text", ["", "\n\n", "a letter\nto a friend"])
    def test_text(self, text: str) -> None:
        judgement = judge_log(LLAMA, text)
        assert (judgement.verdict, judgement.reasons[0].code) == (Verdict.UNKNOWN, C.NOT_READY)


def test_a_day_of_requests_changes_nothing() -> None:
    """How long a million take is measured in tests/bench."""
    judged = judge_rows(LLAMA, long_log(20_000))
    assert judged.judgement == judge_log(LLAMA, llama_text("full14-lv4"))
    assert judged.last_line > 20_000
    unready = judge_rows(LLAMA, (row for row in long_log(20_000) if "listening on" not in row))
    assert [reason.code for reason in unready.judgement.reasons] == [C.NOT_READY]


def test_a_request_ends_a_device_table_too() -> None:
    rows = llama_text("full14-lv4").split("\n")
    table = ["0.00.1 I cmn  common_param: device_info:", "  - CPU     : Xeon (128887 MiB, 128887 MiB free)"]
    request = "1.02.533.120 I slot   operator(): id  3 | task 0 | new prompt, n_ctx_slot = 8192"
    found = judge_rows(LLAMA, [*rows, table[0].replace("0.00.1", "0.00.100.000"), table[1], request])
    assert [reason.code for reason in found.judgement.reasons] == [C.NO_GPU_DEVICE]
    spaced = judge_rows(LLAMA, [*rows, table[0].replace("0.00.1", "0.00.100.000"), "", table[1], "", request])
    assert spaced.judgement.verdict is Verdict.PARTIAL, "an empty row ends nothing"

"""The rule line by line: what takes `gpu` away, what has to be there for it, and what an expectation adds."""

from __future__ import annotations

import pytest

from kotaro_bridge.domain.engine.engine_log import Engine, LogLine, Stream
from kotaro_bridge.domain.engine.log_judge import judge_log
from kotaro_bridge.domain.engine.placement import (
    Expectation,
    Judgement,
    PlacementWatch,
    Reason,
    ReasonCode,
    Verdict,
)
from kotaro_bridge.domain.units import MIB
from tests.helpers.captures import llama_text, split_log

C = ReasonCode
READY = "0.02.262.594 I srv  llama_server: listening on http://127.0.0.1:18080"
WHOLE = llama_text("full14-lv4")
QWEN14 = Expectation(
    weights_on_gpu_bytes=8_988_107_200 - 437_944_320 - 6 * MIB,  # the file less its header and its input table
    kv_bytes=1536 * MIB,
    n_ctx=8192,
    parallel=4,
    host_allowed_bytes=152064 * 5120 * 144 // 256,
)


def judge(text: str, expectation: Expectation | None = None, *, ended: bool = False) -> Judgement:
    watch = PlacementWatch(Engine.LLAMA_SERVER, expectation)
    for line in split_log(text, Stream.STDERR):
        watch.feed(line)
    return watch.judge(ended=ended)


def outcome(judgement: Judgement) -> tuple[Verdict, list[ReasonCode]]:
    return judgement.verdict, [reason.code for reason in judgement.reasons]


def changed(old: str, new: str) -> str:
    """The whole model's log with one text replaced, which must be there."""
    assert old in WHOLE
    return WHOLE.replace(old, new)


def added(*rows: str) -> str:
    """The whole model's log with lines added before the ready line."""
    return WHOLE.replace(READY, "\n".join((*rows, READY)))


DISQUALIFYING = [
    ("load_tensors: offloaded 48/49 layers to GPU", Verdict.PARTIAL, C.LAYERS_ON_CPU),
    ("load_tensors:   CPU_Mapped model buffer size =  4944.60 MiB", Verdict.PARTIAL, C.WEIGHTS_ON_CPU),
    ("load_tensors:   CPU_REPACK model buffer size =  2976.75 MiB", Verdict.PARTIAL, C.WEIGHTS_ON_CPU),
    ("llama_kv_cache:        CPU KV buffer size =   928.00 MiB", Verdict.PARTIAL, C.KV_ON_CPU),
    ("llama_kv_cache:  CUDA_Host KV buffer size =   928.00 MiB", Verdict.PARTIAL, C.KV_ON_CPU),
    ("llama_memory_recurrent:        CPU RS buffer size =    62.00 MiB", Verdict.PARTIAL, C.KV_ON_CPU),
    ("sched_reserve: graph: nodes = 1638, splits = 98, input objects = 4", Verdict.PARTIAL, C.SPLITS_TOO_MANY),
    ("sched_reserve: graph (pp bs=512, tg bs=4): nodes = 9 / 9, splits = 408 / 2", Verdict.PARTIAL, C.SPLITS_TOO_MANY),
    ("sched_reserve: graph (pp bs=512, tg bs=4): nodes = 9 / 9, splits = 2 / 408", Verdict.PARTIAL, C.SPLITS_TOO_MANY),
    ("sched_reserve: graph splits = 3", Verdict.PARTIAL, C.SPLITS_TOO_MANY),
    (
        "resolve_fused_ops: layer 0 is assigned to device CUDA0 but Flash Attention is assigned to device CPU",
        Verdict.PARTIAL,
        C.FUSED_OPS_ON_CPU,
    ),
    ("load: lora for 'x' cannot use buft 'CUDA0', fallback to CPU", Verdict.PARTIAL, C.LORA_ON_CPU),
    ("llama_adapter_lora_init_impl:        CPU LoRA buffer size =    2.00 MiB", Verdict.PARTIAL, C.LORA_ON_CPU),
    ("llama_model_loader: tensor overrides to CPU are used with mmap enabled", Verdict.PARTIAL, C.TENSOR_OVERRIDE),
    ("tensor blk.0.ffn_up.weight (38 MiB q4_K) buffer type overridden to CPU", Verdict.PARTIAL, C.TENSOR_OVERRIDE),
    (
        "done_getting_tensors: tensor 'output.weight' (q6_K) (and 0 others) cannot be used with preferred buffer type "
        "CUDA0, using CPU instead",
        Verdict.PARTIAL,
        C.WEIGHTS_ON_CPU,
    ),
    ("clip_ctx: CLIP using CPU backend", Verdict.PARTIAL, C.VISION_ON_CPU),
    ("warmup: WARNING: the CLIP graph uses unsupported operators by the backend", Verdict.PARTIAL, C.VISION_ON_CPU),
    ("ggml_cuda_init: failed to initialize CUDA: unknown error", Verdict.PARTIAL, C.CUDA_INIT_FAILED),
    ("warning: no usable GPU found, --gpu-layers option will be ignored", Verdict.PARTIAL, C.NO_GPU_DEVICE),
    (
        "llama_prepare_model_devices: using device Vulkan0 (llvmpipe) (unknown id) - 1 MiB free",
        Verdict.UNKNOWN,
        C.DEVICE_UNEXPECTED,
    ),
    ("load_tensors:      Vulkan0 model buffer size =  8148.38 MiB", Verdict.UNKNOWN, C.DEVICE_UNEXPECTED),
    ("llama_kv_cache:     RPC0[a] KV buffer size =   928.00 MiB", Verdict.UNKNOWN, C.DEVICE_UNEXPECTED),
    ("sched_reserve:      Vulkan0 compute buffer size =    28.00 MiB", Verdict.UNKNOWN, C.DEVICE_UNEXPECTED),
    # several cards at once: the name does not say which holds what
    ("load_tensors:  CUDA0_Split model buffer size =  8148.38 MiB", Verdict.UNKNOWN, C.DEVICE_UNEXPECTED),
    ("load_tensors: Meta(CUDA0,CPU) model buffer size =  8148.38 MiB", Verdict.UNKNOWN, C.DEVICE_UNEXPECTED),
    ("llama_kv_cache: Meta(CUDA0,CPU) KV buffer size =  1536.00 MiB", Verdict.UNKNOWN, C.DEVICE_UNEXPECTED),
    ("reserve_compute_meta:    Vulkan0 compute buffer size =    28.00 MiB", Verdict.UNKNOWN, C.DEVICE_UNEXPECTED),
    (
        "warmup: flash attention is not supported by the current backend; falling back to CPU",
        Verdict.PARTIAL,
        C.VISION_ON_CPU,
    ),
    ("srv  llama_server: starting server in router mode. models will be loaded", Verdict.UNKNOWN, C.ROUTER_MODE),
    (
        "cmn  common_param:   - CUDA0   : NVIDIA H100 80GB HBM3 (81079 MiB, 120500 MiB free)",
        Verdict.PARTIAL,
        C.UNIFIED_MEMORY,
    ),
]


@pytest.mark.parametrize(("row", "verdict", "code"), DISQUALIFYING)
@pytest.mark.parametrize("prefix", ["", "0.02.200.000 W "])
def test_a_disqualifying_line_is_raised_at_once_and_decides(
    row: str, verdict: Verdict, code: ReasonCode, prefix: str
) -> None:
    text = added(prefix + row)
    watch = PlacementWatch(Engine.LLAMA_SERVER)
    raised = [(line.text, reason) for line in split_log(text, Stream.STDERR) if (reason := watch.feed(line))]
    assert [(fed, reason.code, reason.line) for fed, reason in raised] == [(prefix + row, code, prefix + row)]
    judgement = watch.judge(ended=False)
    assert outcome(judgement) == (verdict, [code])
    assert judgement.reasons[0] == raised[0][1]


@pytest.mark.parametrize("row", [row for row, _verdict, _code in DISQUALIFYING])
def test_in_the_dry_run_it_says_nothing(row: str) -> None:
    start = "cmn  common_init_: fitting params to device memory ..."
    end = "common_fit_params: fitting params to free memory took 0.49 seconds"
    assert outcome(judge(added(start, row, end))) == (Verdict.GPU, [])


@pytest.mark.parametrize(
    "row",
    [
        "tensor blk.0.ffn_up.weight (38 MiB q4_K) buffer type overridden to CUDA0",
        "done_getting_tensors: tensor 'token_embd.weight' (q4_K) (and 0 others) cannot be used with preferred buffer "
        "type CUDA_Host, using CPU instead",
        "sched_reserve:        CPU compute buffer size =    28.01 MiB",
        "cmn  common_param:   - CUDA0   : NVIDIA H100 80GB HBM3 (81079 MiB, 81079 MiB free)",
        "0.05.000.000 E srv  operator(): got exception: an ERROR of a request",
    ],
)
def test_a_line_that_is_normal_does_not_disqualify(row: str) -> None:
    assert outcome(judge(added(row))) == (Verdict.GPU, [])


NEEDED = {
    "using device CUDA0": C.EVIDENCE_MISSING,
    "offloaded 49/49": C.EVIDENCE_MISSING,
    "CPU_Mapped model buffer": C.EVIDENCE_MISSING,
    "CUDA0 model buffer": C.EVIDENCE_MISSING,
    "print_info: file size": C.EVIDENCE_MISSING,
    "print_info: n_vocab": C.EVIDENCE_MISSING,
    "print_info: n_embd  ": C.EVIDENCE_MISSING,
    "- type q4_K": C.HOST_BUFFER_UNEXPLAINED,
    "CUDA0 KV buffer": C.EVIDENCE_MISSING,
    "llama_kv_cache: size = ": C.EVIDENCE_MISSING,
    "CUDA0 compute buffer": C.EVIDENCE_MISSING,
    "splits = 2": C.EVIDENCE_MISSING,
    "fitting params to free memory took": C.EVIDENCE_MISSING,
    "listening on http": C.NOT_READY,
}


@pytest.mark.parametrize("part", NEEDED)
def test_a_needed_line_that_is_absent_leaves_unknown(part: str) -> None:
    rows = WHOLE.split("\n")
    kept = [row for row in rows if part not in row]
    assert len(kept) == len(rows) - 1
    assert outcome(judge("\n".join(kept))) == (Verdict.UNKNOWN, [NEEDED[part]])


def test_the_missing_words_and_the_flag() -> None:
    text = "\n".join(row for row in WHOLE.split("\n") if "splits = 2" not in row and "using device" not in row)
    (loud,) = judge(text).reasons
    assert loud.params == {"missing": "device,weights,compute,splits"}
    (quiet,) = judge(text.replace("verbosity = 4", "verbosity = 3")).reasons
    assert (quiet.code, quiet.params["flag"]) == (C.PLACEMENT_NOT_LOGGED, "-lv 4")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        # attn_q of one layer beside the input: seen by the size alone
        (
            "CPU_Mapped model buffer size =   417.66",
            "CPU_Mapped model buffer size =   431.72",
            C.HOST_BUFFER_UNEXPLAINED,
        ),
        ("CUDA0 model buffer size =  8148.38", "CUDA0 model buffer size =  8100.00", C.WEIGHTS_INCOMPLETE),
        ("CUDA0 KV buffer size =  1536.00", "CUDA0 KV buffer size =  1504.00", C.KV_INCOMPLETE),
        ("splits = 2", "splits = 1", C.SPLITS_UNEXPECTED),
        ("CUDA0 compute buffer size =   119.01", "CUDA0 compute buffer size =     0.00", C.EVIDENCE_MISSING),
    ],
)
def test_evidence_that_does_not_add_up_leaves_unknown(old: str, new: str, code: ReasonCode) -> None:
    assert outcome(judge(changed(old, new))) == (Verdict.UNKNOWN, [code])


def test_tensors_that_the_model_does_not_use_are_not_missed() -> None:
    text = changed("CUDA0 model buffer size =  8148.38", "CUDA0 model buffer size =  8100.00")
    unused = "0.01.171.000 W model has unused tensor blk.48.nextn.eh_proj.weight (size = 52428800 bytes) -- ignoring"
    text = text.replace("0.01.171.116 I load_tensors", unused + "\n0.01.171.116 I load_tensors")
    assert outcome(judge(text)) == (Verdict.GPU, [])


def test_per_layer_embeddings_are_input_tables_too() -> None:
    """Gemma 3n and 4 keep a second table in host memory (reference llama-server §1.11)."""
    wide = "0.00.836.964 I llama_model_loader: - kv  20:    gemma3n.embedding_length_per_layer_input u32   = 256"
    host = f"{152064 * (5120 + 48 * 256) * 144 / 256 / MIB:.2f}"
    start = "0.00.836.965 I llama_model_loader: - type  f32"
    text = changed("CPU_Mapped model buffer size =   417.66", f"CPU_Mapped model buffer size =   {host}")
    assert judge(text).verdict is not Verdict.GPU
    assert outcome(judge(text.replace(start, f"{wide}\n{start}"))) == (Verdict.GPU, [])
    no_layers = "\n".join(row for row in text.split("\n") if "print_info: n_layer  " not in row)
    assert judge(no_layers.replace(start, f"{wide}\n{start}")).verdict is Verdict.UNKNOWN


def test_a_file_that_is_f32_throughout() -> None:
    text = changed("- type q4_K:", "- type  f32:").replace("- type q6_K:", "- type  f32:")
    whole = text.replace("CPU_Mapped model buffer size =   417.66", "CPU_Mapped model buffer size =  2970.00")
    assert outcome(judge(whole)) == (Verdict.GPU, [])
    assert judge(text.replace("=   417.66 MiB", "=  2990.00 MiB")).reasons[0].code is C.WEIGHTS_ON_CPU


def test_a_second_table_in_host_memory_may_cut_twice_more() -> None:
    wide = "0.00.836.964 I llama_model_loader: - kv  20:    gemma4.embedding_length_per_layer_input u32   = 256"
    start = "0.00.836.965 I llama_model_loader: - type  f32"
    host = f"{152064 * (5120 + 48 * 256) * 144 / 256 / MIB:.2f}"
    text = changed("CPU_Mapped model buffer size =   417.66", f"CPU_Mapped model buffer size =   {host}")
    text = text.replace(start, f"{wide}\n{start}")
    assert outcome(judge(text.replace("splits = 2", "splits = 4"))) == (Verdict.GPU, [])
    assert outcome(judge(text.replace("splits = 2", "splits = 5"))) == (Verdict.PARTIAL, [C.SPLITS_TOO_MANY])


class TestSeveralCaches:
    """A model with sliding windows has two, and each tells its own total."""

    first = "0.02.177.001 I llama_kv_cache_iswa: creating non-SWA KV cache, size = 8192 cells"
    second = "0.02.177.990 I llama_kv_cache_iswa: creating     SWA KV cache, size = 1024 cells"
    buffer = "0.02.178.000 I llama_kv_cache:      CUDA0 KV buffer size =   192.00 MiB"
    total = "0.02.178.100 I llama_kv_cache: size =  192.00 MiB (  1024 cells,  48 layers,  4/1 seqs), K (f16): 96 MiB"
    rows = (first, second, buffer, total)
    state = (
        "0.01.146.064 I print_info: ssm_d_state           = 16",
        "0.02.178.200 I llama_memory_recurrent:      CUDA0 RS buffer size =     8.00 MiB",
        "0.02.178.300 I llama_memory_recurrent: size =    8.00 MiB (     4 cells,  48 layers,  4 seqs  0 rs_seq), "
        "R (f32):    2.00 MiB, S (f32):    6.00 MiB, P (f32):    0.00 MiB",
    )

    def test_both(self) -> None:
        assert outcome(judge(added(*self.rows))) == (Verdict.GPU, [])
        assert judge(added(*self.rows)).facts.kv_total == (1536 + 192) * MIB

    @pytest.mark.parametrize("missing", [(total,), (buffer, total)])
    def test_a_cache_that_was_announced_and_is_not_there(self, missing: tuple[str, ...]) -> None:
        text = added(*(row for row in self.rows if row not in missing))
        assert outcome(judge(text)) == (Verdict.UNKNOWN, [C.EVIDENCE_MISSING])

    def test_a_buffer_that_is_not_there(self) -> None:
        assert outcome(judge(added(self.first, self.second, self.total))) == (Verdict.UNKNOWN, [C.KV_INCOMPLETE])

    def test_recurrent_state_is_missed_where_the_model_has_some(self) -> None:
        assert outcome(judge(added(*self.state))) == (Verdict.GPU, [])
        assert outcome(judge(added(*self.state[:1]))) == (Verdict.UNKNOWN, [C.EVIDENCE_MISSING])
        assert outcome(judge(added(*self.state[:2]))) == (Verdict.UNKNOWN, [C.EVIDENCE_MISSING])
        assert outcome(judge(added(self.state[0], self.state[2]))) == (Verdict.UNKNOWN, [C.KV_INCOMPLETE])

    def test_each_line_may_be_rounded(self) -> None:
        """1536.004 and 192.004 MiB are printed as 1536.00 and 192.00."""
        exact = round((1536.004 + 192.004) * MIB)
        assert outcome(judge(added(*self.rows), Expectation(kv_bytes=exact))) == (Verdict.GPU, [])
        assert judge(added(*self.rows), Expectation(kv_bytes=exact + MIB)).verdict is Verdict.UNKNOWN


def test_an_unknown_element_type_proves_nothing() -> None:
    text = (
        changed("- type q4_K:", "- type  zz9:")
        .replace("- type q6_K:", "- type  zz9:")
        .replace("- type  f32:", "- type zz8:")
    )
    assert outcome(judge(text)) == (Verdict.UNKNOWN, [C.EVIDENCE_MISSING])


def test_a_draft_model_has_to_be_whole_as_well() -> None:
    rows = llama_text("full7-8k").split("\n")
    start = next(i for i, row in enumerate(rows) if "loaded meta data" in row)
    end = next(i for i, row in enumerate(rows) if "splits = " in row)
    draft = rows[start : end + 1]
    assert outcome(judge(added(*draft))) == (Verdict.GPU, [])
    facts = judge(added(*draft)).facts
    assert facts.devices["CUDA0"].kv == (1536 + 448) * MIB
    assert (facts.layers, facts.layers_total, facts.n_ctx) == (49, 49, 8192)
    short = [row.replace("offloaded 29/29", "offloaded 28/29") for row in draft]
    assert judge(added(*short)).facts.layers == 28
    assert outcome(judge(added(*short))) == (Verdict.PARTIAL, [C.LAYERS_ON_CPU])
    no_host = [row for row in draft if "CPU_Mapped" not in row]
    assert judge(added(*no_host)).verdict is Verdict.UNKNOWN


def test_what_is_expected_is_not_made_up_by_a_draft_model() -> None:
    rows = llama_text("full7-8k").split("\n")
    start = next(i for i, row in enumerate(rows) if "loaded meta data" in row)
    end = next(i for i, row in enumerate(rows) if "splits = " in row)
    text = added(*rows[start : end + 1])
    assert outcome(judge(text, Expectation(kv_bytes=1536 * MIB))) == (Verdict.GPU, [])
    assert outcome(judge(text, Expectation(kv_bytes=1600 * MIB))) == (Verdict.UNKNOWN, [C.KV_INCOMPLETE])
    assert outcome(judge(text, Expectation(weights_on_gpu_bytes=8200 * MIB))) == (
        Verdict.UNKNOWN,
        [C.WEIGHTS_INCOMPLETE],
    )


def test_tensors_that_are_not_loaded_at_all_are_not_missed() -> None:
    row = f"0.00.900.000 W model has unused tensor blk.48.nextn.eh_proj.weight (size = {52 * MIB} bytes) -- ignoring"
    start = "0.01.171.116 I load_tensors: offloading output layer to GPU"
    text = changed(start, f"{row}\n{start}")
    assert outcome(judge(text, Expectation(weights_on_gpu_bytes=8200 * MIB))) == (Verdict.GPU, [])
    assert judge(WHOLE, Expectation(weights_on_gpu_bytes=8200 * MIB)).verdict is Verdict.UNKNOWN


def test_two_gpus_make_three_splits() -> None:
    second = "0.00.837.087 I llama_prepare_model_devices: using device CUDA1 (NVIDIA) (0000:00:07.0) - 80552 MiB free"
    text = changed("splits = 2", "splits = 3").replace(
        "0.01.031.681 I load: 0 unused tokens", f"{second}\n0.01.031.681 I load: 0 unused tokens"
    )
    assert outcome(judge(text)) == (Verdict.UNKNOWN, [C.EVIDENCE_MISSING]), "CUDA1 is used and holds nothing"
    text = text.replace("CUDA0 model buffer size =  8148.38", "CUDA0 model buffer size =  4148.38")
    for kind, size in (("load_tensors:      CUDA1 model", 4000), ("sched_reserve:      CUDA1 compute", 9)):
        text = text.replace(READY, f"{kind} buffer size =  {size}.00 MiB\n{READY}")
    assert outcome(judge(text)) == (Verdict.GPU, [])
    assert outcome(judge(text, Expectation())) == (Verdict.UNKNOWN, [C.DEVICE_UNEXPECTED])


class TestVision:
    backend = "0.02.240.000 I clip_ctx: CLIP using CUDA0 backend"
    size = "0.02.241.000 I load_hparams: model size:         12.50 MiB"
    compute = "0.02.244.000 I reserve_compute_meta:      CUDA0 compute buffer size =    24.93 MiB"
    host = "0.02.244.100 I reserve_compute_meta:        CPU compute buffer size =     0.30 MiB"
    graph = "0.02.245.000 I reserve_compute_meta: graph splits = 1, nodes = 823"
    settled = "0.02.245.100 I warmup: flash attention is enabled"
    loaded = "0.02.250.000 I srv    load_model: loaded multimodal model, 'mmproj.gguf'"
    rows = (backend, size, compute, host, graph, settled, loaded)
    wanted = Expectation(vision=True, projector_bytes=round(12.5 * MIB))

    def without(self, *missing: str) -> str:
        return added(*(row for row in self.rows if row not in missing))

    def test_whole_on_the_gpu(self) -> None:
        assert outcome(judge(added(*self.rows), self.wanted)) == (Verdict.GPU, [])
        assert outcome(judge(added(*self.rows))) == (Verdict.GPU, [])

    @pytest.mark.parametrize("missing", [backend, compute, graph])
    def test_silence_about_the_encoder_proves_nothing(self, missing: str) -> None:
        assert outcome(judge(self.without(missing))) == (Verdict.UNKNOWN, [C.EVIDENCE_MISSING])
        assert outcome(judge(self.without(missing, self.loaded))) == (Verdict.UNKNOWN, [C.EVIDENCE_MISSING])

    def test_an_encoder_that_is_only_loaded_has_told_nothing(self) -> None:
        assert outcome(judge(added(self.loaded))) == (Verdict.UNKNOWN, [C.EVIDENCE_MISSING])

    def test_expected_and_not_there(self) -> None:
        (reason,) = judge(WHOLE, Expectation(vision=True)).reasons
        assert reason.params == {"missing": "vision"}

    def test_the_size_of_the_projector_is_that_of_its_header(self) -> None:
        text = self.without(self.size)
        assert outcome(judge(text)) == (Verdict.GPU, [])
        assert outcome(judge(text, self.wanted)) == (Verdict.UNKNOWN, [C.EVIDENCE_MISSING])
        for size in ("12.48", "12.52"):
            other = judge(
                added(*self.rows).replace("model size:         12.50", f"model size:         {size}"), self.wanted
            )
            assert outcome(other) == (Verdict.UNKNOWN, [C.PROJECTOR_UNEXPECTED])
            assert other.reasons[0].params["expected_bytes"] == round(12.5 * MIB)

    def test_a_file_with_sound_has_two_encoders(self) -> None:
        second = (self.backend, self.size, self.compute, self.graph, self.settled)
        assert outcome(judge(added(*self.rows, *second), self.wanted)) == (Verdict.GPU, [])
        short = added(*self.rows, *(row for row in second if row != self.graph))
        assert outcome(judge(short, self.wanted)) == (Verdict.UNKNOWN, [C.EVIDENCE_MISSING])

    def test_its_compute_buffer_is_not_the_language_models(self) -> None:
        text = "\n".join(row for row in WHOLE.split("\n") if "CUDA0 compute buffer" not in row)
        assert judge(text.replace(READY, f"{self.compute}\n{READY}")).verdict is Verdict.UNKNOWN

    def test_a_schedule_that_cuts_is_raised_when_it_is_settled(self) -> None:
        cut = self.graph.replace("splits = 1", "splits = 3")
        for last in (self.settled, READY):
            rows = (self.backend, self.compute, cut, last)
            watch = PlacementWatch(Engine.LLAMA_SERVER)
            raised = [watch.feed(LogLine(Stream.STDERR, n, row)) for n, row in enumerate(rows, start=1)]
            assert raised[:3] == [None] * 3
            assert raised[3] is not None
            assert (raised[3].code, raised[3].line_no, raised[3].line) == (C.VISION_ON_CPU, 3, cut)
        assert outcome(judge(added(self.backend, self.compute, cut, self.settled))) == (
            Verdict.PARTIAL,
            [C.VISION_ON_CPU],
        )

    def test_a_schedule_that_was_only_tried_does_not_count(self) -> None:
        """Flash attention is tried first; a card that cannot do it computes without, still on the card."""
        tried = self.graph.replace("splits = 1", "splits = 9")
        warning = "0.02.244.900 W warmup: WARNING: flash attention not supported by CUDA0, memory usage will increase"
        off = self.settled.replace("enabled", "disabled")
        rows = (self.backend, self.size, self.compute, tried, warning, self.compute, self.graph, off, self.loaded)
        assert outcome(judge(added(*rows), self.wanted)) == (Verdict.GPU, [])


class TestDeviceTable:
    head = "0.00.106.910 I cmn  common_param: device_info:"
    cpu = "0.00.234.421 I cmn  common_param:   - CPU     : Intel(R) Xeon(R) (128887 MiB, 128887 MiB free)"
    cuda = "0.00.234.404 I cmn  common_param:   - CUDA0   : NVIDIA (81079 MiB, 80552 MiB free)"

    def feed(self, *rows: str) -> list[tuple[int, Reason]]:
        watch = PlacementWatch(Engine.LLAMA_SERVER)
        lines = [LogLine(Stream.STDERR, number, row) for number, row in enumerate(rows, start=1)]
        return [(line.number, reason) for line in lines if (reason := watch.feed(line))]

    def test_without_a_gpu_is_judged_when_it_ends(self) -> None:
        ((at, reason),) = self.feed(self.head, self.cpu, "anything else", "and more")
        assert (at, reason.code, reason.line_no, reason.line) == (3, C.NO_GPU_DEVICE, 2, self.cpu)

    def test_an_event_can_end_it(self) -> None:
        ((at, reason),) = self.feed(self.head, self.cpu, "load_tensors: offloaded 49/49 layers to GPU")
        assert (at, reason.code) == (3, C.NO_GPU_DEVICE)

    def test_with_a_gpu_says_nothing(self) -> None:
        assert self.feed(self.head, self.cuda, self.cpu, "anything else") == []

    def test_rows_alone_or_none_say_nothing(self) -> None:
        assert self.feed(self.cpu, "anything else", self.head, "anything else", self.cpu) == []


class TestDryRunThatNeverEnds:
    """A window without an end must not hide a real load: nothing in it counts for the GPU, but it can count against."""

    start = "0.00.238.043 I cmn  common_init_: fitting params to device memory ..."
    kv = "0.02.177.422 I llama_kv_cache:        CPU KV buffer size =  1536.00 MiB"
    trial = "0.00.476.923 I print_info: no_alloc              = 1"
    real = "0.00.792.387 I print_info: no_alloc              = 0"

    def feed(self, *rows: str) -> PlacementWatch:
        self.raised: list[int] = []
        watch = PlacementWatch(Engine.LLAMA_SERVER)
        for number, row in enumerate(rows, start=1):
            if watch.feed(LogLine(Stream.STDERR, number, row)):
                self.raised.append(number)
        return watch

    def test_still_running(self) -> None:
        watch = self.feed(self.start, self.trial, self.kv)
        assert self.raised == []
        assert outcome(watch.judge(ended=False)) == (Verdict.UNKNOWN, [C.NOT_READY])

    def test_a_real_load_counts_from_there(self) -> None:
        watch = self.feed(self.start, self.trial, self.kv, self.real, self.kv)
        assert self.raised == [5]
        assert watch.judge(ended=False).reasons[0].line_no == 5

    def test_readiness_shows_that_it_was_real(self) -> None:
        watch = self.feed(self.start, self.kv, READY)
        assert self.raised == [3]
        assert watch.ready
        assert watch.judge(ended=False).reasons[0].line_no == 2


class TestVerdictOrder:
    def test_failed_comes_first(self) -> None:
        rows = [row for row, _verdict, _code in DISQUALIFYING[:1]]
        assert outcome(judge(rows[0], ended=True)) == (Verdict.FAILED, [C.ENGINE_EXITED, C.LAYERS_ON_CPU])

    def test_a_reason_is_not_told_twice(self) -> None:
        text = "0.00.011.977 E ggml_cuda_init: failed to initialize CUDA: driver too old"
        assert outcome(judge(text, ended=True)) == (Verdict.FAILED, [C.CUDA_INIT_FAILED])

    def test_an_end_after_readiness_is_no_failed_start(self) -> None:
        assert outcome(judge(WHOLE, ended=True)) == (Verdict.GPU, [])

    def test_errors_after_readiness_decide_nothing(self) -> None:
        late = "0.09.000.000 E alloc_buffer: allocating 1.00 MiB on device 0: cudaMalloc failed: out of memory"
        text = f"{WHOLE}\n{late}\n0.09.000.000 E srv  llama_server: exiting due to HTTP server error"
        judgement = judge_log(Engine.LLAMA_SERVER, text)
        assert outcome(judgement) == (Verdict.GPU, [])
        assert judgement.facts.error_lines == ()

    @pytest.mark.parametrize(
        ("rows", "verdict"),
        [
            (["load_tensors: offloaded 20/49 layers to GPU"], Verdict.PARTIAL),
            (["ggml_cuda_init: failed to initialize CUDA: x"], Verdict.CPU),
            (["llama_kv_cache:        CPU KV buffer size =   928.00 MiB"], Verdict.CPU),
            (
                [
                    "llama_prepare_model_devices: using device CUDA0 (NVIDIA) (0000) - 1 MiB free",
                    "llama_kv_cache:        CPU KV buffer size =   928.00 MiB",
                ],
                Verdict.PARTIAL,
            ),
            (
                [
                    "llama_prepare_model_devices: using device CUDA0 (NVIDIA) (0000) - 1 MiB free",
                    "llama_kv_cache:        CPU KV buffer size =   928.00 MiB",
                    "sched_reserve:        CPU compute buffer size =   141.01 MiB",
                ],
                Verdict.CPU,
            ),
            (
                [
                    "llama_kv_cache:        CPU KV buffer size =   928.00 MiB",
                    "sched_reserve:      CUDA0 compute buffer size =   141.01 MiB",
                ],
                Verdict.PARTIAL,
            ),
        ],
    )
    def test_cpu_means_nothing_on_a_gpu(self, rows: list[str], verdict: Verdict) -> None:
        assert judge("\n".join((*rows, READY))).verdict is verdict

    def test_notices_go_with_any_verdict(self) -> None:
        config = "0.00.100.000 I cmn  common_param: using config file: /etc/llama.cpp/config.ini"
        assert outcome(judge(added(config))) == (Verdict.GPU, [C.CONFIG_FILE_READ])
        row = "load_tensors: offloaded 48/49 layers to GPU"
        assert outcome(judge(added(config, row))) == (Verdict.PARTIAL, [C.LAYERS_ON_CPU, C.CONFIG_FILE_READ])

    def test_a_strange_device_does_not_hide_what_is_known(self) -> None:
        strange = "llama_prepare_model_devices: using device Vulkan0 (llvmpipe) (unknown id) - 1 MiB free"
        row = "load_tensors: offloaded 48/49 layers to GPU"
        assert outcome(judge(added(strange, row))) == (Verdict.PARTIAL, [C.DEVICE_UNEXPECTED, C.LAYERS_ON_CPU])


class TestExpectation:
    def test_met(self) -> None:
        assert outcome(judge(WHOLE, QWEN14)) == (Verdict.GPU, [])

    @pytest.mark.parametrize(
        ("expectation", "code"),
        [
            (Expectation(devices=("CUDA1",)), C.DEVICE_UNEXPECTED),
            (Expectation(devices=("CUDA0", "CUDA1")), C.CARDS_UNUSED),
            (Expectation(weights_on_gpu_bytes=8200 * MIB), C.WEIGHTS_INCOMPLETE),
            (Expectation(kv_bytes=1600 * MIB), C.KV_INCOMPLETE),
        ],
    )
    def test_not_met(self, expectation: Expectation, code: ReasonCode) -> None:
        assert outcome(judge(WHOLE, expectation)) == (Verdict.UNKNOWN, [code])

    def test_a_device_that_is_not_used_is_raised_before_the_weights(self) -> None:
        watch = PlacementWatch(Engine.LLAMA_SERVER, Expectation(devices=("CUDA0", "CUDA1")))
        raised = [reason for line in split_log(WHOLE, Stream.STDERR) if (reason := watch.feed(line))]
        assert [(reason.code, reason.params) for reason in raised] == [(C.CARDS_UNUSED, {"wanted": 2, "found": 1})]
        assert "offloaded 49/49" in (raised[0].line or "")

    def test_more_host_memory_than_the_input_tables_is_raised_at_once(self) -> None:
        watch = PlacementWatch(Engine.LLAMA_SERVER, Expectation(host_allowed_bytes=417 * MIB))
        raised = [reason for line in split_log(WHOLE, Stream.STDERR) if (reason := watch.feed(line))]
        assert [reason.code for reason in raised] == [C.WEIGHTS_ON_CPU]
        assert raised[0].params == {"device": "CPU_Mapped", "size_bytes": 437948252, "allowed_bytes": 417 * MIB}

    def test_what_the_launcher_knows_need_not_be_in_the_log(self) -> None:
        parts = ("file size", "n_vocab", "- type q4_K")
        text = "\n".join(row for row in WHOLE.split("\n") if not any(part in row for part in parts))
        assert outcome(judge(text, QWEN14)) == (Verdict.GPU, [])

    @pytest.mark.parametrize(
        ("expectation", "code", "params"),
        [
            (Expectation(n_ctx=32768), C.CONTEXT_REDUCED, {"from": 32768, "to": 8192}),
            (Expectation(parallel=8), C.PARALLEL_REDUCED, {"from": 8, "to": 4}),
        ],
    )
    def test_less_room_than_asked(self, expectation: Expectation, code: ReasonCode, params: dict[str, int]) -> None:
        judgement = judge(WHOLE, expectation)
        assert outcome(judgement) == (Verdict.GPU, [code])
        assert judgement.reasons[0].params == params

    def test_fits_own_word_is_enough_for_a_context_that_was_cut(self) -> None:
        assert outcome(judge(llama_text("starve-ctx0"), Expectation(n_ctx=32768))) == (Verdict.GPU, [C.CONTEXT_REDUCED])

    @pytest.mark.parametrize("expectation", [Expectation(n_ctx=8192), Expectation(parallel=4)])
    def test_slots_have_to_be_named_when_asked_for(self, expectation: Expectation) -> None:
        text = "\n".join(row for row in WHOLE.split("\n") if "n_ctx_slot = 8192, kv_unified" not in row)
        assert outcome(judge(text, expectation)) == (Verdict.UNKNOWN, [C.EVIDENCE_MISSING])
        assert outcome(judge(text)) == (Verdict.GPU, [])


def test_context_of_all_slots_when_only_the_slots_are_named() -> None:
    rows = "0.02.051.359 I srv    load_model: initializing, n_slots = 4, n_ctx_slot = 2048, kv_unified = 'false'"
    assert judge(rows).facts.n_ctx == 8192
    old = "srv    load_model: initializing slots, n_slots = 4, n_ctx_slot = 2048"
    assert (judge(old).facts.n_ctx, judge(old).facts.n_ctx_slot) == (None, 2048)


@pytest.mark.parametrize("figures", [["408 / 2", "2"], ["2 / 408"], ["2", "408 / 2"], ["408", "2"]])
def test_the_worst_splits_are_the_fact(figures: list[str]) -> None:
    rows = [f"sched_reserve: graph (pp bs=512, tg bs=4): nodes = 1638, splits = {figure}" for figure in figures]
    assert judge("\n".join(rows)).facts.splits == 408


def test_reason_as_json() -> None:
    (reason,) = judge(added("load_tensors: offloaded 48/49 layers to GPU")).reasons
    assert reason.to_json() == {
        "code": "layers_on_cpu",
        "stream": "stderr",
        "line_no": reason.line_no,
        "line": "load_tensors: offloaded 48/49 layers to GPU",
        "params": {"layers": 48, "total": 49},
    }
    assert Reason(C.NOT_READY).to_json() == {
        "code": "not_ready",
        "stream": None,
        "line_no": None,
        "line": None,
        "params": {},
    }

"""The dialect of vLLM: the 0.33 form, and option lists."""

from __future__ import annotations

import pytest

from kotaro_bridge.domain.engine.engine_log import EventKind, LogLine, Stream, Value
from kotaro_bridge.domain.engine.engine_log_vllm import offload_option, parse
from kotaro_bridge.domain.units import GIB
from tests.helpers.captures import vllm_text

K = EventKind
HEAD = "(EngineCore pid=7475) INFO 11-21 19:19:48 [gpu_worker.py:360] "
FORMS: list[tuple[str, EventKind, dict[str, Value]]] = [
    (HEAD + "Model loading took 9.53 GiB memory and 2.305637 seconds", K.WEIGHTS, {"size_bytes": round(9.53 * GIB)}),
    (HEAD + "Model loading took 9.53 GiB and 2.305637 seconds", K.WEIGHTS, {"size_bytes": round(9.53 * GIB)}),
    (
        HEAD + "GPU KV cache size: 1,067,648 tokens, Maximum concurrency for 8,192 tokens per request: 8.26x",
        K.KV_TOKENS,
        {"tokens": 1067648},
    ),
    (HEAD + "Available KV cache memory: -6.79 GiB", K.KV_AVAILABLE, {"size_bytes": round(-6.79 * GIB)}),
    (HEAD + "GPU + host KV cache size: 67,648 tokens", K.KV_ON_HOST, {}),
    (HEAD + "CPU KV cache size: 67,648 tokens", K.CPU_PLATFORM, {}),
    (HEAD + "Offloader set to UVAOffloader", K.OFFLOADER, {"offloader": "UVAOffloader"}),
    (HEAD + "Total CPU offloaded parameters: 4.00 GiB", K.OFFLOADER, {"offloader": "4.00 GiB"}),
    (
        "(APIServer pid=1) WARNING 11-21 19:19:48 [cuda.py:1] --cpu-offload-gb is enabled with CUDA graphs on WSL2.",
        K.OFFLOADER,
        {"offloader": "--cpu-offload-gb"},
    ),
    (HEAD + "Automatically detected platform cpu.", K.CPU_PLATFORM, {}),
    (HEAD + "Unspecified platform detected, switching to CPU Platform instead.", K.CPU_PLATFORM, {}),
    (
        HEAD + "Auto-fit max_model_len: reduced from 32768 to 6144 to fit in available KV cache memory (1.13 GiB)",
        K.CONTEXT_REDUCED,
        {"from": 32768, "to": 6144},
    ),
    (HEAD + "vLLM server version 0.33.0, serving model q14awq", K.VERSION, {"version": "0.33.0"}),
    (HEAD + "Starting vLLM server on http://0.0.0.0:8000", K.STARTING, {"url": "http://0.0.0.0:8000"}),
    ("INFO:     Application startup complete.", K.READY, {}),
    ("Available KV cache memory: 1.00 GiB", K.KV_AVAILABLE, {"size_bytes": GIB}),
]


@pytest.mark.parametrize(("text", "kind", "values"), FORMS)
def test_form(text: str, kind: EventKind, values: dict[str, Value]) -> None:
    event = parse(LogLine(Stream.STDOUT, 1, text))
    assert event is not None
    assert (event.kind, event.values) == (kind, values)


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "Offloader set to NoopOffloader",
        HEAD + "Total CPU offloaded parameters: 0",
        HEAD + "Total CPU offloaded parameters: 0.00 GiB",
        HEAD + "Automatically detected platform cuda.",
        HEAD + "ValueError: No available memory (this flag also controls CPU memory on the CPU platform)",
        "the user wrote: INFO:     Application startup complete.",
    ],
)
def test_no_event(text: str) -> None:
    assert parse(LogLine(Stream.STDOUT, 1, text)) is None


def test_the_configuration_line() -> None:
    stdout = vllm_text("q14", Stream.STDOUT) or ""
    text = next(row for row in stdout.split("\n") if "Initializing a V1 LLM engine" in row)
    event = parse(LogLine(Stream.STDOUT, 1, text))
    assert event is not None
    assert (event.kind, event.values) == (
        K.VERSION,
        {"version": "0.25.0", "device": "cuda", "n_ctx": "8192", "cards": 1},
    )


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ("{'model': 'offload-me', 'max_model_len': 8192}", None),
        ("{'cpu_offload_gb': 4.0, 'model': 'x'}", "cpu_offload_gb=4.0"),
        ("cpu_offload_gb=4, seed=0", "cpu_offload_gb=4"),
        ("cpu_offload_gb=0, cpu_offload_params=set(), seed=0", None),
        (
            "offload_config=OffloadConfig(offload_backend='auto', uva=UVAOffloadConfig(cpu_offload_gb=0.0)), seed=0",
            None,
        ),
        (
            "offload_config=OffloadConfig(offload_backend='uva', uva=UVAOffloadConfig(cpu_offload_gb=0.0))",
            "offload_backend='uva'",
        ),
        ("'offload_config': {'offload_group_size': 0, 'offload_num_in_group': 1, 'offload_prefetch_step': 1}", None),
        ("'offload_config': {'offload_group_size': 4}", "offload_group_size=4"),
        ("kv_offloading_size=None, kv_offloading_backend='native'", None),
        ("kv_offloading_size=8.0, kv_offloading_backend='native'", "kv_offloading_size=8.0"),
        ("kv_offloading_backend='lmcache'", "kv_offloading_backend='lmcache'"),
        ("kv_transfer_config=None, ec_transfer_config=None", None),
        (
            "kv_transfer_config=KVTransferConfig(kv_connector='OffloadingConnector')",
            "kv_transfer_config=KVTransferConfig(",
        ),
        ("'kv_transfer_config': {'kv_connector': 'LMCacheConnectorV1'}", "kv_transfer_config={"),
        ("'ec_transfer_config': {'ec_connector': 'x'}", "ec_transfer_config={"),
        ("'attention_config': {'hisparse_config': {'host_size': 1}}", "hisparse_config={"),
        ("'engram_config': {'cpu_offload': True}", "cpu_offload=True"),
        ("'engram_config': {'cpu_offload': False}", None),
        ("engram_config=EngramConfig(cpu_offload=True, x=1)", "cpu_offload=True"),
        ("engram_config=None, hisparse_config=None", None),
        ("attention_config=AttentionConfig(hisparse_config=HiSparseConfig(x=1))", "hisparse_config=HiSparseConfig("),
        ("ec_transfer_config=ECTransferConfig(ec_connector='x')", "ec_transfer_config=ECTransferConfig("),
        # names of tensors, in every way that a set or list is printed
        ("'cpu_offload_params': {'experts'}", "cpu_offload_params={"),
        ("'cpu_offload_params': ['experts']", "cpu_offload_params=["),
        ("offload_params={'gate_up'}, seed=0", "offload_params={"),
        ("offload_params=[], cpu_offload_params={}", None),
        # as JSON, and as the command line spells it
        ('{"cpu_offload_gb": 4, "x": 1}', "cpu_offload_gb=4"),
        ('{"kv_transfer_config": null, "cpu_offload_gb": 0.00, "simple_kv_offload": false}', None),
        ("{'kv-offloading-size': 8.0}", "kv_offloading_size=8.0"),
        ('"offload_backend": "prefetch"', 'offload_backend="prefetch"'),
        ('"offload_backend": "auto", "offload_num_in_group": "1"', None),
    ],
)
def test_an_option_that_takes_something_off_the_gpu(options: str, found: str | None) -> None:
    assert offload_option(options) == found

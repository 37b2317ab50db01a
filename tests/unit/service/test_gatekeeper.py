"""The gate's eyes: what is read, in which order, and what becomes of answers that do not come."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import pytest

from kotaro_bridge.domain.engine.engine_devices import DeviceAnswer
from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.gpu import GpuProcess
from kotaro_bridge.domain.ports import ConfigFile, EngineCommand, OllamaModel, TargetFacts
from kotaro_bridge.domain.profile import Profile, VramNeed
from kotaro_bridge.domain.run.gate import CheckId, Status
from kotaro_bridge.domain.run.holders import Holder, HolderKind
from kotaro_bridge.domain.run.remedy import RemedyKind
from kotaro_bridge.domain.units import GIB, MIB
from kotaro_bridge.service.block_cache import BlockCache
from kotaro_bridge.service.gatekeeper import Gatekeeper, GateResult
from kotaro_bridge.service.holders import Serving
from kotaro_bridge.service.target_facts import fetched_by_vllm
from tests.helpers.gguf_header import Q14, pack_header, qwen2_shape
from tests.helpers.machine import DEADLINE_S, LISTED, LLAMA, MODEL, MODEL_BYTES, VLLM, Machine, unreachable

LOCAL = msgspec.structs.replace(LLAMA, target="local", id="local")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def check(machine: Machine, pool: ThreadPoolExecutor, profile: Profile | None = LLAMA) -> GateResult:
    return Gatekeeper(machine.ports, pool).check(profile)


def outcome(result: GateResult, which: CheckId) -> tuple[Status, str]:
    found = next(one for one in result.report.checks if one.id is which)
    return found.status, found.message.code


# --- everything in order ----------------------------------------------------------------------------------------------


def test_a_machine_in_order_gives_clearance(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    result = check(machine, pool)
    assert {one.status for one in result.report.checks} == {Status.PASSED}
    assert result.report.ok
    clearance = result.clearance
    assert clearance is not None
    assert (clearance.used_before, clearance.shared_before) == ((900 * MIB,), 190 * MIB)
    assert clearance.model == MODEL
    assert clearance.command.argv[:3] == ("~/llama-server", "-m", "~/q14.gguf")
    assert result.report.need is not None
    assert result.report.need.source == "header"


def test_without_counters_the_level_of_shared_memory_is_unknown(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    machine.counters.present = False
    clearance = check(machine, pool).clearance
    assert clearance is not None
    assert clearance.shared_before is None


def test_the_stated_need_counts_where_it_is_larger(pool: ThreadPoolExecutor) -> None:
    stated = msgspec.structs.replace(LLAMA, need=VramNeed(vram_mib=20_000, source="measured: here"))
    need = check(Machine(), pool, stated).report.need
    assert need is not None
    assert (need.vram, need.source) == (20_000 * MIB, "measured: here")
    smaller = msgspec.structs.replace(LLAMA, need=VramNeed(vram_mib=100, source="measured: here"))
    need = check(Machine(), pool, smaller).report.need
    assert need is not None
    assert need.source == "header"


def test_local_asks_no_wsl(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    machine.distros = machine.wslconfig = problem("wsl.missing")
    result = check(machine, pool, LOCAL)
    assert result.report.ok
    assert outcome(result, CheckId.WSL) == (Status.SKIPPED, "gate.wsl.skipped")
    assert outcome(result, CheckId.LOCALHOST_FORWARDING)[0] is Status.SKIPPED


def test_the_model_is_read_anew_at_every_start(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    keeper = Gatekeeper(machine.ports, pool)
    assert keeper.check(LLAMA).report.ok
    machine.target.header = b"no longer a model"
    blocking = keeper.check(LLAMA).report.blocking
    assert [one.message.code for one in blocking] == ["model.not_gguf", "gate.need.after_model"]


def test_a_profile_that_serves_is_not_told_to_free_its_own_port(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    machine.taken_ports.add(LLAMA.port)
    machine.target.facts = broken(port_free=False)
    machine.gpu.total = 12 * GIB
    result = Gatekeeper(machine.ports, pool, serving=lambda: (Serving(LLAMA, 9 * GIB),)).check(LLAMA)
    assert outcome(result, CheckId.PORT_WINDOWS) == (Status.FAILED, "gate.runs_already")
    assert outcome(result, CheckId.PORT_TARGET) == (Status.FAILED, "gate.runs_already")
    assert result.remedies == ()
    other = msgspec.structs.replace(LLAMA, id="other")
    result = Gatekeeper(machine.ports, pool, serving=lambda: (Serving(other, 9 * GIB),)).check(LLAMA)
    assert outcome(result, CheckId.PORT_WINDOWS) == (Status.FAILED, "gate.port_windows.failed")


# --- without a profile ------------------------------------------------------------------------------------------------


def test_without_a_profile_only_the_driver_is_checked(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    result = check(machine, pool, None)
    assert result.report.ok
    assert result.clearance is None
    assert {one.id for one in result.report.checks if one.status is Status.PASSED} == {CheckId.DRIVER}
    assert machine.target.smi_asked == 0


@pytest.mark.parametrize(("need", "status"), [(10 * GIB, Status.PASSED), (32 * GIB, Status.FAILED)])
def test_a_need_alone_is_held_against_the_card(pool: ThreadPoolExecutor, need: int, status: Status) -> None:
    result = Gatekeeper(Machine().ports, pool).check(None, need)
    assert outcome(result, CheckId.VRAM)[0] is status
    assert result.report.ok is (status is Status.PASSED)


# --- each thing that is not in order ----------------------------------------------------------------------------------


SYSTEM_CONFIG = ConfigFile("/etc/llama.cpp/config.ini", False, ("cpu-moe = true",))
ASKED_OF_THE_TARGET = (
    CheckId.GPU_IN_TARGET,
    CheckId.ENGINE,
    CheckId.ENGINE_GPU,
    CheckId.CONFIG_FILE,
    CheckId.MODEL,
    CheckId.PORT_TARGET,
    CheckId.VRAM,
)


def broken(**facts: object) -> TargetFacts:
    plain: dict[str, object] = {
        "engine": True,
        "engine_unusable": False,
        "model": MODEL_BYTES,
        "projector": None,
        "port_free": True,
        "configs": (),
    }
    return TargetFacts(**(plain | facts))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "which", "status", "code"),
    [
        (broken(engine=False), CheckId.ENGINE, Status.FAILED, "engine.missing"),
        (broken(engine=False, engine_unusable=True), CheckId.ENGINE, Status.FAILED, "engine.unusable"),
        (broken(engine=None), CheckId.ENGINE, Status.UNKNOWN, "gate.target.unknown"),
        (broken(model=-1), CheckId.MODEL, Status.FAILED, "model.missing"),
        (broken(projector=-1), CheckId.MODEL, Status.FAILED, "model.missing"),
        (broken(model=0, missing_parts=("a", "b")), CheckId.MODEL, Status.FAILED, "model.parts_missing"),
        (broken(model=None), CheckId.MODEL, Status.UNKNOWN, "gate.target.unknown"),
        (broken(port_free=False), CheckId.PORT_TARGET, Status.FAILED, "gate.port_target.failed"),
        (broken(port_free=None), CheckId.PORT_TARGET, Status.UNKNOWN, "gate.target.unknown"),
        (broken(engine=False), CheckId.ENGINE_GPU, Status.UNKNOWN, "gate.engine_unasked.unknown"),
        (broken(engine=None), CheckId.ENGINE_GPU, Status.UNKNOWN, "gate.engine_unasked.unknown"),
        (broken(configs=None), CheckId.CONFIG_FILE, Status.UNKNOWN, "gate.target.unknown"),
        (broken(configs=(SYSTEM_CONFIG,)), CheckId.CONFIG_FILE, Status.FAILED, "gate.config_file.failed"),
        (problem("wsl.hangs"), CheckId.WSL, Status.FAILED, "wsl.hangs"),
        *[(problem("wsl.hangs"), which, Status.UNKNOWN, "gate.unasked.unknown") for which in ASKED_OF_THE_TARGET],
    ],
)
def test_what_the_target_says_refuses(
    pool: ThreadPoolExecutor, facts: TargetFacts | Problem, which: CheckId, status: Status, code: str
) -> None:
    machine = Machine()
    machine.target.facts = facts
    result = check(machine, pool, msgspec.structs.replace(LLAMA, projector="~/mmproj.gguf"))
    assert outcome(result, which) == (status, code)
    assert not result.report.ok
    assert result.clearance is None


@pytest.mark.parametrize("profile", [LLAMA, VLLM])
def test_a_path_of_windows_is_told_as_such(pool: ThreadPoolExecutor, profile: Profile) -> None:
    machine = Machine()
    machine.target.facts = broken(model=-1)
    result = check(machine, pool, msgspec.structs.replace(profile, model="C:\\models\\m"))
    message = next(each.message for each in result.report.checks if each.id is CheckId.MODEL)
    assert (message.code, message.params["inside"]) == ("model.windows_path", "/mnt/c/models/m")


@pytest.mark.parametrize(
    ("distros", "code"),
    [
        ((), "wsl.no_distro"),
        (("Debian", "docker-desktop"), "wsl.distro_not_found"),
        (problem("wsl.not_installed"), "wsl.not_installed"),
    ],
)
def test_wsl_that_is_not_as_the_profile_wants_it(
    pool: ThreadPoolExecutor, distros: tuple[str, ...] | Problem, code: str
) -> None:
    machine = Machine()
    machine.distros = distros
    result = check(machine, pool)
    assert outcome(result, CheckId.WSL) == (Status.FAILED, code)
    for which in ASKED_OF_THE_TARGET:
        assert outcome(result, which) == (Status.UNKNOWN, "gate.unasked.unknown")
    assert machine.target.smi_asked == 0, "where WSL does not answer, nvidia-smi would hang as well"


def test_a_machine_itself_that_does_not_answer_says_so_once(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    machine.target.facts = problem("launch.hangs")
    result = check(machine, pool, LOCAL)
    assert [one.message.code for one in result.report.blocking].count("launch.hangs") == 1
    assert outcome(result, CheckId.ENGINE) == (Status.FAILED, "launch.hangs")
    assert outcome(result, CheckId.ENGINE_GPU) == (Status.UNKNOWN, "gate.unasked.unknown")
    assert machine.target.smi_asked == 0


# --- what the engine itself says --------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [LLAMA, VLLM])
def test_the_engine_is_asked_in_the_environment_of_the_start(pool: ThreadPoolExecutor, profile: Profile) -> None:
    machine = Machine()
    asked: list[EngineCommand] = []
    answer = machine.target.probe

    def probe(engine: Engine, question: EngineCommand, *rest: Any) -> TargetFacts:
        asked.append(question)
        return answer(engine, question, *rest)

    machine.target.probe = probe  # type: ignore[assignment,method-assign]
    clearance = check(machine, pool, profile).clearance
    assert clearance is not None
    start = clearance.command
    assert [(one.env, one.unset, one.keep) for one in asked] == [(start.env, start.unset, start.keep)]
    assert asked[0].argv[0] == start.argv[0]


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (DeviceAnswer(0, ("Available devices:", "  (none)"), ()), Status.FAILED, "engine.cpu_build"),
        (DeviceAnswer(124, (), ()), Status.UNKNOWN, "engine.devices_late.unknown"),
        (None, Status.UNKNOWN, "gate.target.unknown"),
    ],
)
def test_an_engine_without_a_device_is_refused(
    pool: ThreadPoolExecutor, answer: DeviceAnswer | None, status: Status, code: str
) -> None:
    machine = Machine()
    machine.target.devices[Engine.LLAMA_SERVER] = answer
    result = check(machine, pool)
    assert outcome(result, CheckId.ENGINE_GPU) == (status, code)
    assert [one.id for one in result.report.blocking] == [CheckId.ENGINE_GPU]
    assert result.clearance is None


def test_the_card_of_the_driver_is_held_against_the_build(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    card = replace(machine.gpu.card, compute_cap="6.1")
    machine.gpu.snapshot = lambda: (card,)  # type: ignore[method-assign]
    machine.target.devices[Engine.LLAMA_SERVER] = DeviceAnswer(0, LISTED, ("libcudart.so.13 => /x (0x1)",))
    assert outcome(check(machine, pool), CheckId.ENGINE_GPU) == (Status.FAILED, "engine.card_too_old")


def test_vllm_reads_no_config_file(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    machine.target.facts = broken(model=None, configs=None)
    result = check(machine, pool, VLLM)
    assert outcome(result, CheckId.CONFIG_FILE)[0] is Status.SKIPPED
    assert result.report.ok


def test_the_users_config_file_is_named_and_refuses_nothing(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    machine.target.facts = broken(configs=(replace(SYSTEM_CONFIG, path="~/x/config.ini", avoidable=True),))
    result = check(machine, pool)
    assert outcome(result, CheckId.CONFIG_FILE) == (Status.PASSED, "gate.config_file_unused.passed")
    assert result.report.ok


def test_memory_of_the_target_is_handed_on(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    machine.target.facts = broken(memory=20 * GIB, swap=5 * GIB)
    clearance = check(machine, pool).clearance
    assert clearance is not None
    assert (clearance.memory, clearance.swap) == (20 * GIB, 5 * GIB)


@pytest.mark.parametrize(("taken", "status"), [(False, Status.PASSED), (True, Status.FAILED)])
def test_a_port_of_this_machine_is_asked_for_once_and_bound_to_be_sure(
    pool: ThreadPoolExecutor, taken: bool, status: Status
) -> None:
    machine = Machine()
    machine.taken_ports = {LOCAL.port} if taken else set()
    result = check(machine, pool, LOCAL)
    assert outcome(result, CheckId.PORT_TARGET)[0] is status
    assert CheckId.PORT_WINDOWS not in {one.id for one in result.report.checks}


@pytest.mark.parametrize("why", ["model.missing", "wsl.hangs"])
def test_a_header_that_could_not_be_read_refuses(pool: ThreadPoolExecutor, why: str) -> None:
    machine = Machine()

    def read_at(*_: object, **__: object) -> bytes:
        raise ProblemError(problem(why))

    machine.target.read_at = read_at  # type: ignore[method-assign]
    assert outcome(check(machine, pool), CheckId.MODEL) == (Status.FAILED, why)


def test_the_name_of_a_distro_has_no_case_and_may_be_left_out(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    machine.distros = ("UBUNTU",)
    assert check(machine, pool).report.ok
    assert check(machine, pool, msgspec.structs.replace(LLAMA, target="wsl:")).report.ok


def test_a_driver_that_is_gone_at_the_end_refuses(pool: ThreadPoolExecutor) -> None:
    """Free VRAM is read last: a driver that answered at first and then not gives no number."""
    machine = Machine()
    first = threading.Event()
    snapshot = machine.gpu.snapshot

    def once() -> object:
        if first.is_set():
            return machine.gpu.answer(problem("gpu.driver_lost"))
        first.set()
        return snapshot()

    machine.gpu.snapshot = once  # type: ignore[assignment,method-assign]
    result = check(machine, pool)
    assert outcome(result, CheckId.VRAM)[0] is Status.UNKNOWN
    assert result.clearance is None


def test_vram_is_read_after_everything_else(pool: ThreadPoolExecutor) -> None:
    """What another program takes while the target is asked counts."""
    machine = Machine()
    answer = machine.target.probe

    def probe(*asked: Any) -> object:
        machine.gpu.used = machine.gpu.total - GIB
        return answer(*asked)

    machine.target.probe = probe  # type: ignore[assignment,method-assign]
    assert outcome(check(machine, pool), CheckId.VRAM) == (Status.FAILED, "gate.vram.failed")


def test_who_holds_the_memory_is_named(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    machine.gpu.used = machine.gpu.total - GIB
    machine.counters.processes = (GpuProcess(1, "ollama.exe", 20 * GIB, 0), GpuProcess(2, "dwm.exe", 100 * MIB, 0))
    result = check(machine, pool)
    vram = next(one for one in result.report.checks if one.id is CheckId.VRAM)
    assert vram.message.code == "gate.vram.held"
    assert vram.message.params["holders"] == "ollama.exe (20,480 MiB)"
    assert [holder.name for holder in result.report.holders] == ["ollama.exe", "dwm.exe"]


def test_a_start_that_passes_asks_nobody_who_holds_memory(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    machine.running = AssertionError("must not be asked")
    keeper = Gatekeeper(machine.ports, pool, serving=unreachable)
    assert keeper.check(LLAMA).report.ok
    assert keeper.check(None, GIB).report.ok
    assert machine.ollama.asked == 0


def test_a_need_alone_names_who_is_in_the_way(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    machine.ollama.models = (OllamaModel("qwen3:8b", 30 * GIB),)
    report = Gatekeeper(machine.ports, pool).check(None, 32 * GIB).report
    assert report.holders == (Holder(HolderKind.OLLAMA, "qwen3:8b", 30 * GIB, "qwen3:8b"),)


def test_a_refusal_comes_with_what_would_help(pool: ThreadPoolExecutor) -> None:
    """The context that is offered passes the gate; the next longer one does not."""
    machine = Machine()
    machine.gpu.used = machine.gpu.total - 10 * GIB
    result = check(machine, pool, msgspec.structs.replace(LLAMA, context=32768, parallel=2))
    assert [remedy.kind for remedy in result.remedies] == [RemedyKind.CONTEXT]
    context = int(result.remedies[0].value)
    for tokens, passes in ((context, True), (context + 256, False)):
        assert check(machine, pool, msgspec.structs.replace(LLAMA, context=tokens, parallel=2)).report.ok is passes


def test_another_run_of_ours_on_the_same_port(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    machine.taken_ports = {LLAMA.port}
    other = msgspec.structs.replace(LLAMA, id="other", title="Other")
    far = msgspec.structs.replace(LLAMA, id="far", gpus=(1,))
    serving = (Serving(other, None), Serving(far, GIB))
    result = Gatekeeper(machine.ports, pool, serving=lambda: serving).check(LLAMA)
    assert result.report.holders == (Holder(HolderKind.RUN, "Other", None, "other"),)
    assert [remedy.word for remedy in result.remedies] == ["stop=other"]
    assert machine.ollama.asked == 0


def test_where_wsl_does_not_answer_it_is_not_asked_for_holders(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    machine.distros = problem("wsl.hangs")
    machine.running = AssertionError("must not be asked")
    result = check(machine, pool)
    assert outcome(result, CheckId.VRAM)[0] is Status.UNKNOWN
    assert result.remedies == ()


def test_a_card_that_nvidia_smi_does_not_see_in_the_target(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    machine.target.smi = problem("gpu.smi_blocked")
    result = check(machine, pool)
    assert outcome(result, CheckId.GPU_IN_TARGET) == (Status.FAILED, "gpu.smi_blocked")
    assert outcome(result, CheckId.VRAM)[0] is Status.UNKNOWN


def test_a_port_taken_on_windows(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    machine.taken_ports.add(8080)
    assert outcome(check(machine, pool), CheckId.PORT_WINDOWS) == (Status.FAILED, "gate.port_windows.failed")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (None, Status.PASSED),
        (b"[wsl2]\nmemory=20GB\n", Status.PASSED),
        (b"[wsl2]\nlocalhostForwarding=true\n", Status.PASSED),
        (b"[wsl2]\nlocalhostForwarding=false\n", Status.FAILED),
        (b"[wsl2]\nnetworkingMode=mirrored\nlocalhostForwarding=false\n", Status.SKIPPED),
        (b"[wsl2]\nnetworkingMode=none\n", Status.FAILED),
        (problem("storage.unusable"), Status.FAILED),
    ],
)
def test_forwarding_as_wsl_reads_it(pool: ThreadPoolExecutor, text: bytes | Problem | None, status: Status) -> None:
    machine = Machine()
    machine.wslconfig = text
    result = check(machine, pool)
    assert outcome(result, CheckId.LOCALHOST_FORWARDING)[0] is status
    assert result.report.ok is (status is not Status.FAILED)


def test_arguments_that_are_not_on_the_whitelist(pool: ThreadPoolExecutor) -> None:
    result = check(Machine(), pool, msgspec.structs.replace(LLAMA, extra_args=("-ngl", "20")))
    assert outcome(result, CheckId.PROFILE) == (Status.FAILED, "command.forbidden.layers")
    assert result.clearance is None


@pytest.mark.parametrize(
    ("header", "code"), [(b"PK\3\4", "model.not_gguf"), (b"GGUF\3\0\0\0", "model.truncated"), (b"", "model.not_gguf")]
)
def test_a_model_file_that_is_no_whole_model(pool: ThreadPoolExecutor, header: bytes, code: str) -> None:
    machine = Machine()
    machine.target.header = header
    machine.target.facts = broken(model=len(header))
    assert outcome(check(machine, pool), CheckId.MODEL) == (Status.FAILED, code)


def test_a_need_that_cannot_be_computed_blocks_unless_it_is_stated(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    model = msgspec.structs.replace(LLAMA, id="split")
    keeper = Gatekeeper(machine.ports, pool)
    machine.target.header = qwen2_shape(*Q14, more_values={"split.count": 2})
    assert outcome(keeper.check(model), CheckId.VRAM) == (Status.UNKNOWN, "gate.need.after_model")
    stated = msgspec.structs.replace(model, need=VramNeed(vram_mib=9_000, source="measured"))
    assert outcome(keeper.check(stated), CheckId.VRAM)[0] is Status.PASSED
    # The engine would not find its other files either.
    assert outcome(keeper.check(stated), CheckId.MODEL) == (Status.FAILED, "model.part_name")


def test_a_split_model_is_read_with_all_its_files(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    first, later = "~/q14-00001-of-00002.gguf", "~/q14-00002-of-00002.gguf"
    tensors = len(MODEL.tensors)
    machine.target.header = qwen2_shape(
        *Q14, more_values={"split.no": 0, "split.count": 2, "split.tensors.count": tensors + 1}
    )
    machine.target.facts = broken(model=MODEL_BYTES + 4096)
    values = {"split.no": 1, "split.count": 2, "split.tensors.count": tensors + 1}
    machine.target.files[later] = pack_header(values, [("blk.0.more.weight", (256, 4), "F32")]) + bytes(4096)
    result = check(machine, pool, msgspec.structs.replace(LLAMA, model=first))
    assert result.report.ok
    assert result.clearance is not None
    assert result.clearance.model is not None
    assert result.clearance.model.weights_total == MODEL.weights_total + 4096
    machine.target.files[later] = b"cut"
    assert outcome(check(machine, pool, msgspec.structs.replace(LLAMA, model=first)), CheckId.MODEL)[0] is Status.FAILED


# --- vLLM -------------------------------------------------------------------------------------------------------------


def test_vllm_gets_its_budget_as_a_share_of_what_it_sees(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    machine.target.facts = broken(model=None)  # not asked for: vLLM fetches it
    result = check(machine, pool, VLLM)
    assert result.report.ok
    assert outcome(result, CheckId.MODEL)[0] is Status.SKIPPED
    assert result.clearance is not None
    argv = result.clearance.command.argv
    assert argv[argv.index("--gpu-memory-utilization") + 1] == "0.733"
    assert result.clearance.model is None


def test_a_budget_beyond_the_card_is_the_business_of_the_vram_check(pool: ThreadPoolExecutor) -> None:
    result = check(Machine(), pool, msgspec.structs.replace(VLLM, need=VramNeed(vram_mib=40_000, source="measured")))
    assert [one.message.code for one in result.report.blocking] == ["gate.vram.too_small"]


@pytest.mark.parametrize("view", [(), None])
def test_without_a_view_of_the_card_there_is_no_share_and_no_start(
    pool: ThreadPoolExecutor, view: tuple[()] | None
) -> None:
    machine = Machine()
    machine.gpu.used = None if view is None else machine.gpu.used
    machine.target.smi = view
    assert check(machine, pool, VLLM).clearance is None


@pytest.mark.parametrize(
    ("model", "fetched"),
    [
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", True),
        ("gpt2", True),
        ("~/models/Qwen", False),
        ("/srv/models/Qwen", False),
        ("./Qwen", False),
        ("models/a/b", False),
        ("C:\\models\\Qwen", False),
        ("C:/Qwen", False),
    ],
)
def test_ids_of_the_hub_are_told_from_paths(model: str, fetched: bool) -> None:
    assert fetched_by_vllm(msgspec.structs.replace(VLLM, model=model)) is fetched
    assert fetched_by_vllm(msgspec.structs.replace(LLAMA, model=model)) is False


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_slow_channel_is_asked_for_blocks() -> None:
    data = bytes(range(256)) * 8
    calls: list[tuple[int, int]] = []

    def read_at(offset: int, size: int) -> bytes:
        calls.append((offset, size))
        return data[offset : offset + size]

    cache = BlockCache(read_at, 100)
    assert cache(0, 4) == data[:4]
    assert cache(50, 50) == data[50:100]
    assert cache(90, 20) == data[90:110]
    assert cache(10, 5) == data[10:15]
    assert cache(0, 500) == data[:500]
    assert cache(2040, 100) == data[2040:]
    assert calls == [(0, 100), (90, 100), (10, 100), (0, 500), (2040, 100)]


def test_the_slow_reads_run_side_by_side(pool: ThreadPoolExecutor) -> None:
    """A start waits for the slowest answer, not for the sum: WSL and the probe are asked at once."""
    machine = Machine()
    both = threading.Barrier(2, timeout=DEADLINE_S)
    answer, distros = machine.target.probe, machine.distros

    def probe(*asked: Any) -> object:
        both.wait()
        return answer(*asked)

    machine.target.probe = probe  # type: ignore[assignment,method-assign]
    ports = machine.ports

    def installed() -> tuple[str, ...]:
        both.wait()
        return machine.answer(distros)

    object.__setattr__(ports, "installed_distros", installed)
    assert Gatekeeper(ports, pool).check(LLAMA).report.ok


@pytest.mark.parametrize(("takes_s", "readings", "ok"), [((1,), 1, True), ((9, 1), 2, True), ((9, 9, 9), 3, False)])
def test_facts_of_a_start_are_fresh(
    pool: ThreadPoolExecutor, takes_s: tuple[int, ...], readings: int, ok: bool
) -> None:
    """The first look may start the VM and take ten seconds; what was read before that is read again."""
    times = [at for number, took in enumerate(takes_s) for at in (100.0 * number, 100.0 * number + took)]
    machine = Machine()
    result = Gatekeeper(machine.ports, pool, clock=partial(next, iter(times))).check(LLAMA)
    assert machine.target.smi_asked == readings
    assert result.report.ok is ok
    assert (result.clearance is not None) is ok
    if not ok:
        assert outcome(result, CheckId.VRAM) == (Status.UNKNOWN, "gate.slow.unknown")

"""The gate: every failed or unknown fact refuses, free VRAM is the smaller of both views."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kotaro_bridge.domain.errors import Problem, problem
from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.ports import ConfigFile
from kotaro_bridge.domain.run.gate import (
    UNASKED,
    Check,
    CheckId,
    GateFacts,
    GateReport,
    Need,
    Status,
    free_per_card,
    judge,
)
from kotaro_bridge.domain.run.holders import Holder, HolderKind
from kotaro_bridge.domain.units import GIB

CARD = GpuSnapshot(0, "GPU-1", "RTX 4070", 12 * GIB, free=11 * GIB, used=GIB, driver="580.1")
SEEN_INSIDE = replace(CARD, free=10 * GIB)
GOOD = GateFacts(
    driver=(CARD,),
    driver_late=(CARD,),
    wsl=True,
    target=(SEEN_INSIDE,),
    engine="0.5.0",
    engine_gpu="RTX 4070",
    configs=(),
    model=9 * GIB,
    port=8080,
    port_windows_free=True,
    port_target_free=True,
    forwarding=True,
    need=Need(9 * GIB, "header"),
)
UNKNOWN = problem("gate.target.unknown", cause="x")
FAILED = problem("wsl.missing")


def changed(**facts: Any) -> GateFacts:
    return replace(GOOD, **facts)


def check(report: GateReport, wanted: CheckId) -> Check:
    return next(one for one in report.checks if one.id is wanted)


def test_all_facts_good_passes() -> None:
    report = judge(GOOD)
    assert report.ok
    assert [one.status for one in report.checks] == [Status.PASSED] * 11
    assert report.gpus == (CARD,)
    assert report.need == Need(9 * GIB, "header")
    assert report.blocking == ()


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("driver", CheckId.DRIVER),
        ("wsl", CheckId.WSL),
        ("target", CheckId.GPU_IN_TARGET),
        ("engine", CheckId.ENGINE),
        ("engine_gpu", CheckId.ENGINE_GPU),
        ("configs", CheckId.CONFIG_FILE),
        ("model", CheckId.MODEL),
        ("port_windows_free", CheckId.PORT_WINDOWS),
        ("port_target_free", CheckId.PORT_TARGET),
        ("forwarding", CheckId.LOCALHOST_FORWARDING),
    ],
)
@pytest.mark.parametrize(("why", "status"), [(FAILED, Status.FAILED), (UNKNOWN, Status.UNKNOWN)])
def test_every_failed_or_unknown_fact_refuses(field: str, wanted: CheckId, why: Problem, status: Status) -> None:
    report = judge(changed(**{field: why}))
    assert not report.ok
    assert check(report, wanted) in report.blocking
    assert (check(report, wanted).status, check(report, wanted).message) == (status, why)


@pytest.mark.parametrize("field", ["port_windows_free", "port_target_free", "forwarding"])
def test_a_plain_no_refuses_and_names_the_port(field: str) -> None:
    report = judge(changed(**{field: False}))
    assert [one.message.params for one in report.blocking] == [{"port": 8080}]


def test_the_device_that_the_engine_lists_is_named() -> None:
    message = check(judge(GOOD), CheckId.ENGINE_GPU).message
    assert (message.code, message.params) == ("gate.engine_gpu.passed", {"name": "RTX 4070"})
    assert check(judge(changed(engine_gpu=None)), CheckId.ENGINE_GPU).status is Status.SKIPPED


SYSTEM = ConfigFile("/etc/llama.cpp/config.ini", False, ("[default]", "no-kv-offload = true"))
OWN = ConfigFile("/home/u/.config/llama.cpp/config.ini", True, ("cpu-moe = true",))


@pytest.mark.parametrize(
    ("files", "status", "code", "path", "evidence"),
    [
        ((), Status.PASSED, "gate.config_file.passed", None, ()),
        ((OWN,), Status.PASSED, "gate.config_file_unused.passed", OWN.path, ()),
        ((SYSTEM,), Status.FAILED, "gate.config_file.failed", SYSTEM.path, SYSTEM.lines),
        ((OWN, SYSTEM), Status.FAILED, "gate.config_file.failed", SYSTEM.path, SYSTEM.lines),
        (None, Status.SKIPPED, "gate.config_file.skipped", None, ()),
    ],
)
def test_a_config_file_that_the_engine_reads_refuses_and_one_it_is_kept_from_is_named(
    files: tuple[ConfigFile, ...] | None, status: Status, code: str, path: str | None, evidence: tuple[str, ...]
) -> None:
    report = judge(changed(configs=files))
    found = check(report, CheckId.CONFIG_FILE)
    assert (found.status, found.message.code, found.message.params.get("path")) == (status, code, path)
    assert found.message.evidence == evidence
    assert report.ok is (status is not Status.FAILED)


def test_this_machine_has_one_set_of_ports() -> None:
    report = judge(changed(local=True, wsl=None, forwarding=None))
    assert report.ok
    assert CheckId.PORT_WINDOWS not in {one.id for one in report.checks}
    assert not judge(changed(local=True, wsl=None, forwarding=None, port_target_free=False)).ok


def test_what_could_not_be_asked_blocks_with_one_short_sentence() -> None:
    unasked = dict.fromkeys(("target", "engine", "engine_gpu", "configs", "model", "port_target_free"), UNASKED)
    for need in (UNASKED, GOOD.need):
        report = judge(changed(wsl=FAILED, need=need, **unasked))
        assert {one.id for one in report.blocking if one.message == UNASKED} == {
            CheckId.GPU_IN_TARGET,
            CheckId.ENGINE,
            CheckId.ENGINE_GPU,
            CheckId.CONFIG_FILE,
            CheckId.MODEL,
            CheckId.PORT_TARGET,
            CheckId.VRAM,
        }
        assert {one.status for one in report.blocking if one.message == UNASKED} == {Status.UNKNOWN}


def test_forbidden_arguments_refuse() -> None:
    report = judge(replace(GOOD, arguments=problem("command.forbidden.kv_in_ram", argument="-nkvo")))
    assert [one.id for one in report.blocking] == [CheckId.PROFILE]


def test_without_any_question_the_driver_alone_decides() -> None:
    report = judge(GateFacts(driver=(CARD,)))
    assert report.ok
    assert check(report, CheckId.VRAM).status is Status.SKIPPED
    assert judge(GateFacts(driver=(CARD,), need=Need(10 * GIB, ""))).ok
    assert not judge(GateFacts(driver=(CARD,), need=Need(11 * GIB + 1, ""))).ok
    assert not judge(GateFacts()).ok  # a driver that nobody asked is no driver


def test_no_card_or_another_card_refuses() -> None:
    assert check(judge(replace(GOOD, driver=())), CheckId.DRIVER).message.code == "gate.driver.none"
    assert check(judge(replace(GOOD, gpus=(1,))), CheckId.DRIVER).message.code == "gate.no_such_gpu"


@pytest.mark.parametrize(
    ("need", "code"),
    [
        (10 * GIB, "gate.vram.passed"),
        (10 * GIB + 1, "gate.vram.failed"),  # Windows says 11 GiB, the distro 10: the smaller one counts
        (13 * GIB, "gate.vram.too_small"),
    ],
)
def test_free_vram_is_the_smaller_of_both_views(need: int, code: str) -> None:
    message = check(judge(replace(GOOD, need=Need(need, "header"))), CheckId.VRAM).message
    assert message.code == code
    assert message.params["free_bytes"] == 10 * GIB
    assert message.params["missing_bytes"] == max(0, need - 10 * GIB)


def test_holders_of_vram_are_named() -> None:
    holders = tuple(Holder(HolderKind.PROCESS, f"{size}.exe", size * GIB) for size in (7, 3, 2, 1))
    unknown = Holder(HolderKind.DISTRO, "WSL (Debian)", None)
    report = judge(replace(GOOD, need=Need(11 * GIB, ""), holders=(*holders, unknown)))
    message = check(report, CheckId.VRAM).message
    assert message.code == "gate.vram.held"
    assert message.params["holders"] == "7.exe (7,168 MiB), 3.exe (3,072 MiB), 2.exe (2,048 MiB)"
    assert report.holders == (*holders, unknown)
    ollama = Holder(HolderKind.OLLAMA, "qwen3:8b", 7 * GIB, "qwen3:8b")
    message = check(judge(replace(GOOD, need=Need(11 * GIB, ""), holders=(ollama,))), CheckId.VRAM).message
    assert message.params["holders"] == "Ollama qwen3:8b (7,168 MiB)"


def test_small_programs_are_not_blamed() -> None:
    holders = (Holder(HolderKind.PROCESS, "explorer.exe", GIB // 8),)
    message = check(judge(replace(GOOD, need=Need(11 * GIB, ""), holders=holders)), CheckId.VRAM).message
    assert (message.code, message.params["holders"]) == ("gate.vram.failed", "")


@pytest.mark.parametrize(
    "changes",
    [
        {"driver_late": (replace(CARD, free=None),)},
        {"target": (replace(SEEN_INSIDE, free=None),)},
        {"driver_late": problem("gpu.driver_lost")},
        {"target": problem("gpu.smi_blocked")},
        {"target": (replace(SEEN_INSIDE, uuid="GPU-2"),)},
        {"target": (replace(SEEN_INSIDE, uuid="", name="another"),)},
        {"driver_late": (), "target": ()},
    ],
)
def test_vram_that_one_witness_cannot_tell_is_unknown(changes: dict[str, object]) -> None:
    report = judge(changed(**changes))
    assert not report.ok
    assert check(report, CheckId.VRAM).status is Status.UNKNOWN


def test_a_card_without_uuid_is_known_by_its_name() -> None:
    assert judge(replace(GOOD, target=(replace(SEEN_INSIDE, uuid=""),))).ok


def test_an_unknown_need_refuses() -> None:
    report = judge(replace(GOOD, need=problem("gate.need.unknown")))
    assert check(report, CheckId.VRAM).status is Status.UNKNOWN
    assert check(report, CheckId.VRAM).message.code == "gate.need.unknown"
    assert report.need is None


def test_the_need_of_a_model_that_is_not_there_has_not_to_be_stated() -> None:
    missing = problem("model.missing", path="/m.gguf")
    report = judge(replace(GOOD, need=problem("gate.need.unknown"), model=missing))
    assert check(report, CheckId.VRAM).message.code == "gate.need.after_model"
    assert check(report, CheckId.VRAM).status is Status.UNKNOWN


def test_gpus_come_from_the_target_where_the_driver_does_not_answer() -> None:
    assert judge(replace(GOOD, driver_late=FAILED)).gpus == (SEEN_INSIDE,)
    assert judge(GateFacts(driver=FAILED)).gpus == ()


SECOND = replace(CARD, index=1, uuid="GPU-2", name="RTX 3090", total=24 * GIB, free=20 * GIB)
GAME = Holder(HolderKind.PROCESS, "game.exe", 4 * GIB)
BOTH = replace(
    GOOD,
    gpus=(0, 1),
    driver=(CARD, SECOND),
    driver_late=(CARD, SECOND),
    target=(CARD, SECOND),
    need=Need(22 * GIB, "header", (8 * GIB, 14 * GIB)),
)


def test_each_card_has_to_have_its_part() -> None:
    report = judge(BOTH)
    assert report.ok
    assert report.free == (CARD.free, 20 * GIB)
    driver = check(report, CheckId.DRIVER).message
    assert driver.params["name"] == f"{CARD.name}, RTX 3090"
    vram = check(report, CheckId.VRAM).message
    assert (vram.code, vram.params["card"]) == ("gate.vram.card_passed", f"0 ({CARD.name})"), "the tightest is told"


@pytest.mark.parametrize(
    ("parts", "holders", "code", "card"),
    [
        ((8 * GIB, 21 * GIB), (), "gate.vram.card_failed", "1 (RTX 3090)"),
        ((8 * GIB, 21 * GIB), (GAME,), "gate.vram.card_held", "1 (RTX 3090)"),
        ((8 * GIB, 25 * GIB), (), "gate.vram.card_too_small", "1 (RTX 3090)"),
        ((13 * GIB, 14 * GIB), (), "gate.vram.card_too_small", f"0 ({CARD.name})"),
    ],
)
def test_the_card_that_lacks_most_is_named(
    parts: tuple[int, ...], holders: tuple[Holder, ...], code: str, card: str
) -> None:
    vram = check(judge(replace(BOTH, need=Need(sum(parts), "", parts), holders=holders)), CheckId.VRAM)
    assert (vram.status, vram.message.code, vram.message.params["card"]) == (Status.FAILED, code, card)


def test_a_second_card_that_is_not_there_or_another_one() -> None:
    alone = check(judge(replace(BOTH, target=(CARD,))), CheckId.GPU_IN_TARGET).message
    assert (alone.code, alone.params["index"]) == ("gate.no_such_gpu", 1)
    for target in ((CARD,), (CARD, replace(SECOND, uuid="GPU-3")), (CARD, replace(SECOND, free=None))):
        report = judge(replace(BOTH, target=target))
        assert check(report, CheckId.VRAM).status is Status.UNKNOWN
        assert report.free == ()
    assert free_per_card(replace(BOTH, driver_late=None)) == (CARD.free, 20 * GIB)

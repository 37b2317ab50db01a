"""Findings about a .wslconfig: WSL's own words, our advice beside them, and the values we would choose."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given

from kotaro_bridge.domain.units import GIB, MIB
from kotaro_bridge.domain.wsl.wslconfig_advice import lint
from kotaro_bridge.domain.wsl.wslconfig_document import Document
from kotaro_bridge.domain.wsl.wslconfig_findings import Advice, Finding, Weight, in_words
from kotaro_bridge.domain.wsl.wslconfig_mistakes import MOST_LINES
from kotaro_bridge.domain.wsl.wslconfig_recommend import (
    NOTHING_KNOWN,
    HostFacts,
    ModelLoad,
    default_value,
    memory_limits,
    recommend,
)
from kotaro_bridge.texts import Texts
from tests.helpers.wslconfig_files import files

PC = HostFacts(ram_bytes=32 * GIB, processors=16, swap_disk_free_bytes=100 * GIB, networking="Nat")


def found(text: str, facts: HostFacts = PC) -> list[tuple[str, int | None]]:
    """Code and line of all advice."""
    return [(each.code.value, each.line) for each in lint(Document(text.encode(), "F"), facts).advice]


def the(code: Advice, text: str, facts: HostFacts = PC) -> Finding:
    """The one finding of a kind."""
    (one,) = [each for each in lint(Document(text.encode(), "F"), facts).advice if each.code is code]
    return one


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", []),
        ("[wsl2]\nmemory=24GB\n", []),
        ("memory=8GB\nfoo=1\n", [("no_section", 1)]),
        ("[experimental]\nmemory=8GB\n[wsl2]\nsparseVhd=true\n", [("wrong_section", 2), ("wrong_section", 4)]),
        ("[ws12]\nmemory=8GB\n", [("section_near", 1)]),
        ("[network]\nmemory=8GB\n", [("section_unknown", 1)]),
        ("[wsl2 ]\nmemory=8GB\n", [("section_spoiled", 1), ("no_section", 2)]),
        ("[wsl2]\n[experimentel x]\nmemory=8GB\n", [("section_spoiled", 2)]),
        ("[wsl2]\nmemroy=8GB\nqqqq=1\npageReporting=true\n", [("near_miss", 2), ("removed_key", 4)]),
        ("[wsl2]\nmemory=8GB\nMEMORY=9GB\n", [("duplicate", 3)]),
        ("[wsl2]\nmemory=8gb\nguiApplications=off\nprocessors=x\n", [("value_meant", 2), ("value_meant", 3)]),
        ("; x\n// y\n-- z\n=1\n[wsl2]\n", [("comment_mark", 1), ("comment_mark", 2), ("comment_mark", 3)]),
        ("[wsl2]\nswapFile=C:\\temp\\swap.vhdx\nkernelCommandLine=a\\x\n", [("backslash", 2)]),
        ('[wsl2]\nswapFile="C:/x\n', []),
        ("[wsl2]\nswapFile=C:\\new\\bz\n", [("backslash_silent", 2)]),
        ("[wsl2]\nswapFile=C:/あ/x.vhdx\n", [("non_ascii", 2)]),
        ("[wsl2]\nmacAddress=zz\n", [("mac", 2)]),
        ("[wsl2]\nprocessors=010\n", [("octal", 2)]),
        ("[wsl2]\nmemory=64GB\n", [("memory_above_host", 2)]),
        ("[wsl2]\nmemory=30GB\n", [("memory_leaves_little", 2)]),
        ("[wsl2]\nmemory=8MB\n", [("memory_raised", 2)]),
        ("[wsl2]\nmemory=0\n", [("memory_zero", 2)]),
        ("[wsl2]\nprocessors=17\n", [("processors_above_host", 2)]),
        ("[wsl2]\nswap=101GB\n", [("swap_over_disk", 2)]),
        ("[wsl2]\nswap=101GB\nsafeMode=1\nnetworkingMode=none\n", [("safe_mode", 3)]),
        ("[wsl2]\nswap=8\nmemory=24GB\n", [("tiny_size", 2)]),
        ("[wsl2]\nswap=101GB\nswapFile=D:\\\\x\n", []),
        (
            "[wsl2]\nnetworkingMode=mirrored\nlocalhostForwarding=true\n",
            [("localhost_mirrored", 3), ("equals_default", 3)],
        ),
        ("[wsl2]\nlocalhostForwarding=false\n", [("localhost_off", 2)]),
        ("[wsl2]\nnetworkingMode=none\n", [("network_none", 2)]),
        ("[wsl2]\nnetworkingMode=bridged\n", [("mode_bridged", 2), ("switch_missing", 2)]),
        ("[wsl2]\nnetworkingMode=bridged\nvmSwitch=x\ndhcp=false\n", [("mode_bridged", 2)]),
        ("[wsl2]\nnetworkingMode=consomme\n", [("mode_by_version", 2)]),
        ("[wsl2]\nvmSwitch=x\n[experimental]\nignoredPorts=80\n", [("only_bridged", 2), ("only_mirrored", 4)]),
        ("[general]\ninstanceIdleTimeout=-1\n[wsl2]\nvmIdleTimeout=-1\n", [("idle_never", 2), ("vm_never", 4)]),
        ("[general]\ninstanceIdleTimeout=5000\n[wsl2]\nvmIdleTimeout=0\n", [("idle_stops", 2)]),
        ("[wsl2]\ngpuSupport=false\nhostFileSystemAccess=false\n", [("gpu_off", 2), ("drives_off", 3)]),
        ("[wsl2]\nsafeMode=true\nvirtio9p=true\n", [("safe_mode", 2), ("virtio9p", 3)]),
        ("[wsl2]\nkernel=C:\\\\k\nkernelModules=C:\\\\m\n", [("custom_kernel", 2)]),
        ("[wsl2]\nkernelModules=C:\\\\m\n", [("modules_alone", 2)]),
        ("[experimental]\nautoMemoryReclaim=gradual\nsparseVhd=true\n", [("reclaim_gradual", 2), ("sparse_vhd", 3)]),
        ("[wsl2]\nprocessors=16\nmemory=16GB\nswap=4GB\n", [("equals_default", line) for line in (2, 3, 4)]),
        ("\ufeff[wsl2]\n", [("bom", 1)]),
        ("[wsl2]\nvmSwitch=a\0b\n", [("nul", 1), ("only_bridged", 2)]),
    ],
)
def test_advice(text: str, advice: list[tuple[str, int | None]]) -> None:
    assert found(text) == advice


def test_a_lone_cr_does_not_move_a_comment_mark_out_of_the_file() -> None:
    assert found("[wsl2]\r\r\r\r\r; x\n") == []
    assert found("\r\r\r; x\n") == [("comment_mark", 1)]


@pytest.mark.parametrize(
    ("code", "text", "params"),
    [
        (
            Advice.NEAR_MISS,
            "[wsl2]\nautoMemoryReclam=gradual\n",
            {"meant": "autoMemoryReclaim", "section": "experimental"},
        ),
        (Advice.WRONG_SECTION, "[wsl2]\ninstanceIdleTimeout=1\n", {"section": "wsl2", "belongs": "general"}),
        (Advice.SECTION_NEAR, "[Wsl]\n", {"name": "Wsl", "meant": "wsl2"}),
        (Advice.SECTION_SPOILED, "[General x]\n", {"meant": "general"}),
        (Advice.SECTION_SPOILED, "[network x]\n", {"meant": "wsl2"}),
        (Advice.VALUE_MEANT, "[wsl2]\nmemory=8 GB\n", {"key": "wsl2.memory", "value": "8 GB", "meant": "8GB"}),
        (Advice.VALUE_MEANT, "[wsl2]\nnetworkingMode=mirored\n", {"meant": "Mirrored"}),
        (Advice.BACKSLASH, '[wsl2]\nswapFile="C:\\\\temp\\swap"\n', {"meant": "C:\\\\temp\\\\swap"}),
        (Advice.DUPLICATE, "[wsl2]\nswap=1\n\nswap=2\n", {"first": 2}),
        (Advice.OCTAL, "[wsl2]\nprocessors=010\n", {"text": "010", "value": "8"}),
        (Advice.MEMORY_LEAVES_LITTLE, "[wsl2]\nmemory=30GB\n", {"left_bytes": 2 * GIB, "most_bytes": 26 * GIB}),
        (Advice.IDLE_STOPS, "[general]\ninstanceIdleTimeout=2500\n", {"seconds": "2.5"}),
        (Advice.EQUALS_DEFAULT, "[wsl2]\ngpuSupport=true\n", {"value": "true"}),
    ],
)
def test_what_the_advice_says(code: Advice, text: str, params: dict[str, Any]) -> None:
    one = the(code, text)
    assert {name: one.params[name] for name in params} == params
    assert one.message.code == f"wslconfig.advice.{code}"
    for language in ("en", "ja"):
        message = Texts(language).message(one.message)
        assert "?" not in message.what + message.do


def test_the_swap_that_wsl_makes_itself_may_be_too_much_for_the_disk() -> None:
    full = HostFacts(32 * GIB, 16, swap_disk_free_bytes=3 * GIB)
    for text in ("[wsl2]\n", "[wsl2]\nswap=-1\n"):
        assert the(Advice.SWAP_OVER_DISK, text, full).params == {"swap_bytes": 4 * GIB, "free_bytes": 3 * GIB}
    assert found("[wsl2]\nswap=0\n", full) == []


def test_a_time_out_above_the_usual_is_only_a_hint() -> None:
    assert the(Advice.IDLE_STOPS, "[general]\ninstanceIdleTimeout=60000\n").weight is Weight.HINT
    assert the(Advice.IDLE_STOPS, "[general]\ninstanceIdleTimeout=0\n").weight is Weight.RISKY


def test_models_pass_through_memory() -> None:
    models = HostFacts(32 * GIB, 16, models=(ModelLoad("14B", 9 * GIB), ModelLoad("32B", 20 * GIB)))
    one = the(Advice.MEMORY_BELOW_MODEL, "[wsl2]\nswap=0\n", models)
    assert (one.line, one.params) == (None, {"model": "32B", "need_bytes": 22 * GIB, "memory_bytes": 16 * GIB})
    assert found("[wsl2]\nmemory=24GB\n", models) == []
    # A size above the PC's counts as the PC's; without a PC the file is believed.
    assert found("[wsl2]\nmemory=20GB\n", HostFacts(models=models.models)) == [("memory_below_model", 2)]
    assert found("", HostFacts(models=models.models)) == []


def test_nothing_is_said_of_a_pc_that_is_not_known() -> None:
    assert found("[wsl2]\nmemory=900GB\nprocessors=512\nswap=900GB\n", NOTHING_KNOWN) == []


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        (
            "[wsl2]\nfoo=1\nprocessors=99\n",
            [("MessageConfigUnknownKey", "wsl2.foo", "F", "2"), ("MessageTooManyProcessors", "99", "16")],
        ),
        ("[wsl2]\nvirtio9p=1\n", [("MessageConfigVirtio9pDisabled",)]),
        ("[wsl2]\nvirtio9p=1\nvirtio=0\n", []),
        ("[wsl2]\nvirtio9p=1\nsafeMode=1\nkernelModules=x\n", [("MessageSafeModeEnabled",)]),
        ("[wsl2]\nnetworkingMode=bridged\nsafeMode=1\n", [("MessageSafeModeEnabled",)]),
        ("[wsl2]\nnetworkingMode=mirrored\nlocalhostForwarding=1\nsafeMode=1\n", [("MessageSafeModeEnabled",)]),
        ("[experimental]\nsparseVhd=1\n", [("MessageSparseVhdDisabled",)]),
        (
            "[wsl2]\nnetworkingMode=mirrored\nlocalhostForwarding=0\n",
            [("MessageLocalhostForwardingNotSupportedMirroredMode",)],
        ),
        ("[wsl2]\nkernelModules=x\n", [("MessageMismatchedKernelModulesError",)]),
        ("[wsl2]\nnetworkingMode=bridged\n", [("MessageVmSwitchNotSet",)]),
        (
            "[wsl2]\nsafeMode=1\nmacAddress=zz\nbar=1\n",
            [("MessageConfigMacAddress", "zz", "wsl2.macAddress", "F", "3")],
        ),
    ],
)
def test_what_wsl_will_say(text: str, warnings: list[tuple[str, ...]]) -> None:
    spoken = lint(Document(text.encode(), "F"), PC).wsl_warnings
    assert list(spoken) == warnings
    for warning in spoken:
        words = in_words(warning)
        for language in ("en", "ja"):
            assert all(value in Texts(language).message(words).what for value in warning[1:])


def test_a_flood_of_mistakes_is_cut_short() -> None:
    text = "[wsl2]\n" + "".join(f"memroy{number % 10}=1\nswap=1\n; x\nkernel=\\x\n" for number in range(200))
    advice = lint(Document(text.encode())).advice
    counted = Counter(each.code for each in advice)
    codes = (Advice.NEAR_MISS, Advice.DUPLICATE, Advice.COMMENT_MARK, Advice.BACKSLASH)
    assert [counted[code] for code in codes] == [MOST_LINES] * 4
    sections = lint(Document("".join(f"[network{number}]\n" for number in range(200)).encode())).advice
    assert [each.line for each in sections] == list(range(1, MOST_LINES + 1))


@given(files)
def test_any_file_gets_an_answer(data: bytes) -> None:
    answer = lint(Document(data, "F"), PC)
    lines = data.count(b"\n") + data.count(b"\r") + 1
    assert all(each.line is None or 1 <= each.line <= lines for each in answer.advice)
    assert [each.line or 0 for each in answer.advice] == sorted(each.line or 0 for each in answer.advice)


@pytest.mark.parametrize(
    ("host_gib", "low", "high"),
    [(8, 4, 4), (12, 8, 8), (16, 12, 12), (24, 18, 20), (31.8, 24, 26), (32, 24, 26), (64, 48, 52), (128, 96, 104)],
)
def test_how_much_memory_is_sensible(host_gib: float, low: int, high: int) -> None:
    assert memory_limits(int(host_gib * GIB)) == (low * GIB, high * GIB)


@pytest.mark.parametrize(
    ("model_gib", "value", "code"),
    [(None, 24, "memory"), (9, 24, "memory"), (23, 25, "memory_for_model"), (40, 26, "memory_short")],
)
def test_the_recommended_memory_and_why(model_gib: int | None, value: int, code: str) -> None:
    models = () if model_gib is None else (ModelLoad("M", model_gib * GIB),)
    choice = recommend("wsl2.memory", {}, HostFacts(32 * GIB, models=models))
    assert choice is not None
    assert (choice.value, choice.up_to, choice.reason.code) == (value * GIB, 26 * GIB, f"wslconfig.recommend.{code}")
    assert "?" not in Texts("en").message(choice.reason).what


@pytest.mark.parametrize(
    ("key", "values", "facts", "value", "code"),
    [
        ("wsl2.memory", {}, HostFacts(4 * GIB), None, ""),
        ("wsl2.memory", {}, NOTHING_KNOWN, None, ""),
        ("wsl2.processors", {}, PC, 14, "processors"),
        ("wsl2.processors", {}, HostFacts(processors=4), None, ""),
        ("wsl2.processors", {}, NOTHING_KNOWN, None, ""),
        ("wsl2.swap", {"wsl2.memory": 24 * GIB}, PC, 6 * GIB, "swap"),
        ("wsl2.swap", {"wsl2.memory": 24 * GIB}, HostFacts(32 * GIB), 6 * GIB, "swap"),
        ("wsl2.swap", {}, HostFacts(32 * GIB, None, 10 * GIB), 2 * GIB, "swap_disk"),
        ("wsl2.swap", {}, NOTHING_KNOWN, None, ""),
        ("wsl2.localhostForwarding", {}, PC, True, "localhost"),
        ("wsl2.localhostForwarding", {"wsl2.networkingMode": "Mirrored"}, PC, None, ""),
        ("wsl2.localhostForwarding", {}, HostFacts(networking="Mirrored"), None, ""),
        ("experimental.autoMemoryReclaim", {}, PC, "DropCache", "reclaim"),
        ("wsl2.kernel", {}, PC, None, ""),
    ],
)
def test_recommended_values(key: str, values: dict[str, Any], facts: HostFacts, value: Any, code: str) -> None:
    choice = recommend(key, values, facts)
    assert (None if choice is None else choice.value) == value
    assert ("" if choice is None else choice.reason.code) == (f"wslconfig.recommend.{code}" if code else "")


@pytest.mark.parametrize(
    ("key", "values", "facts", "value"),
    [
        ("wsl2.memory", {"wsl2.memory": 8 * GIB}, PC, 16 * GIB),
        ("wsl2.memory", {}, NOTHING_KNOWN, None),
        ("wsl2.processors", {}, PC, 16),
        ("wsl2.swap", {"wsl2.memory": 10 * GIB}, PC, 3 * GIB),  # reference wslconfig-keys.json: 10 GB VM -> 3 GB
        ("wsl2.swap", {"wsl2.memory": 64 * GIB}, PC, 8 * GIB),
        ("wsl2.swap", {"wsl2.memory": 1 * MIB}, NOTHING_KNOWN, 1 * GIB),
        ("wsl2.swap", {}, NOTHING_KNOWN, None),
        ("wsl2.vmIdleTimeout", {}, NOTHING_KNOWN, 60_000),
        ("wsl2.kernel", {}, PC, None),
    ],
)
def test_defaults(key: str, values: dict[str, Any], facts: HostFacts, value: Any) -> None:
    assert default_value(key, values, facts) == value


def test_a_large_file_is_linted_soon() -> None:
    """The limit of 100 ms is held by the bench on a quiet machine; here only that nothing grows with the square."""
    line = "# a comment of usual length\r\nmemory=8GB # why\r\nfoo=1\r\n[wsl2]\r\n\r\n"
    begin = time.process_time()
    lint(Document((line * ((1 << 20) // len(line))).encode()))
    assert time.process_time() - begin < 3.0

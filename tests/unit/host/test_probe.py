"""The probe, run for real under sh: what it tells of engine, devices, files and port, and how it asks for devices."""

from __future__ import annotations

import json
import os
import queue
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from kotaro_bridge.domain.engine.command import build_command, device_question
from kotaro_bridge.domain.engine.engine_devices import TIMED_OUT, DeviceAnswer
from kotaro_bridge.domain.engine.engine_log import Engine, LogLine
from kotaro_bridge.domain.ports import ChannelClosed, ConfigFile, EngineCommand, ProcessEvent, TargetFacts
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.host.launcher_local import LocalLauncher
from kotaro_bridge.host.probe import parse_probe, probe_argv
from kotaro_bridge.simulator import probe_stand_in

if sys.platform == "win32":
    pytest.skip("the probe runs on the Linux side", allow_module_level=True)

LLAMA = Profile("t", Engine.LLAMA_SERVER, "~/engine", "~/m.gguf", "m", 4096, 8080)
VLLM = Profile("t", Engine.VLLM, "~/venv/bin/vllm", "~/m", "m", 4096, 8000)
STRAY = {
    "LLAMA_ARG_N_GPU_LAYERS": "0",
    "LLAMA_ARG_NO_KV_OFFLOAD": "1",
    "GGML_CUDA_ENABLE_UNIFIED_MEMORY": "0",
    "MTMD_BACKEND_DEVICE": "none",
    "AIP_MODE": "PREDICTION",
    "VLLM_USE_SIMPLE_KV_OFFLOAD": "1",
    "LMCACHE_LOCAL_CPU": "True",
    "CUDA_VISIBLE_DEVICES": "",
    "CUDA_MANAGED_FORCE_DEVICE_ALLOC": "1",
    "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=1G",
    "PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync",
    "TRITON_INTERPRET": "1",
    "LD_PRELOAD": "",
    "XDG_CONFIG_HOME": "/somewhere",
}
KEPT = {"VLLM_WSL2_ENABLE_PIN_MEMORY": "1", "CUDA_HOME": "/usr/local/cuda", "HF_HOME": "/models", "KOTARO_TEST": "*"}


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def launcher(home: Path, **more: str) -> LocalLauncher:
    state = {"HOME": str(home), "XDG_STATE_HOME": str(home / "state"), "XDG_CONFIG_HOME": str(home / "config")}
    return LocalLauncher({**os.environ, **state, **more})


def ask(
    home: Path,
    question: EngineCommand | None = None,
    model: str = "",
    projector: str = "",
    port: int = 1,
    env: Mapping[str, str] = MappingProxyType({}),
) -> TargetFacts:
    question = question or device_question(LLAMA)
    return launcher(home, **env).probe(Engine.LLAMA_SERVER, question, model, projector, port)


def devices(home: Path, **more: str) -> DeviceAnswer:
    answer = ask(home, env=more).devices
    assert answer is not None
    return answer


def altered(home: Path, old: str, new: str, profile: Profile = LLAMA) -> TargetFacts:
    """The facts of the script with one part of its text replaced."""
    argv = probe_argv(profile.engine, device_question(profile), "", "", 1)
    assert old in argv[2]
    argv[2] = argv[2].replace(old, new)
    done = subprocess.run(argv, env={**os.environ, "HOME": str(home)}, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return parse_probe(done.stdout)


# --- engine, model, port ----------------------------------------------------------------------------------------------


def test_engine_model_and_port(tmp_path: Path) -> None:
    (tmp_path / "engine").write_text("#!/bin/sh\n")
    (tmp_path / "m.gguf").write_bytes(b"12345")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        facts = ask(tmp_path, model="~/m.gguf", projector="~/none.gguf", port=port)
        assert (facts.engine, facts.engine_unusable, facts.model, facts.projector) == (False, True, 5, -1)
        assert facts.port_free is False
        assert facts.devices is None, "an engine that cannot be run is not asked"
    (tmp_path / "engine").chmod(0o755)
    (tmp_path / "model").mkdir()
    facts = ask(tmp_path, model="~/model", port=port)
    assert (facts.engine, facts.model, facts.projector, facts.port_free) == (True, 0, None, True)
    assert ask(tmp_path, EngineCommand(("~/nowhere",), {}, (), ())).engine is False
    assert ask(tmp_path, EngineCommand(("sh", "-c", "exit 0"), {}, (), ())).engine is True


@pytest.mark.parametrize("spaces", [None, 2])
def test_a_model_in_parts_that_are_not_all_there(tmp_path: Path, spaces: int | None) -> None:
    names = [f"model-0000{part}-of-00003.safetensors" for part in (1, 2, 3)]
    folder = tmp_path / "a model"
    folder.mkdir()
    (folder / names[0]).write_bytes(b"there")
    (folder / names[1]).write_bytes(b"")
    tensors = {f"layer.{number}.{{weight}},": names[number % 3] for number in range(9)}
    index = json.dumps({"metadata": {"total_size": 5}, "weight_map": tensors}, indent=spaces)
    (folder / "model.safetensors.index.json").write_text(index)

    def missing() -> tuple[str, ...]:
        return launcher(tmp_path).probe(Engine.VLLM, device_question(VLLM), "~/a model", "", 1).missing_parts

    assert missing() == tuple(names[1:])
    for name in names[1:]:
        (folder / name).write_bytes(b"there")
    assert missing() == ()
    (folder / "model.safetensors.index.json").unlink()
    assert missing() == ()


def test_a_model_in_one_file_beside_the_index_of_others_is_whole(tmp_path: Path) -> None:
    """As Mistral's repositories have both: vLLM takes `consolidated` where it is there."""
    folder = tmp_path / "model"
    folder.mkdir()
    index = json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}})
    (folder / "model.safetensors.index.json").write_text(index)

    def missing() -> list[tuple[str, ...]]:
        script = launcher(tmp_path).probe(Engine.VLLM, device_question(VLLM), "~/model", "", 1).missing_parts
        return [script, tuple(line.removeprefix("model.missing ") for line in probe_stand_in._parts(str(folder)))]

    assert missing() == [("model-00001-of-00002.safetensors",)] * 2
    (folder / "consolidated.safetensors").write_bytes(b"there")
    assert missing() == [()] * 2
    (folder / "consolidated.safetensors").write_bytes(b"")
    assert missing() == [("consolidated.safetensors",)] * 2
    own = json.dumps({"weight_map": {"a": "consolidated-00001-of-00002.safetensors", "b": "consolidated.safetensors"}})
    (folder / "consolidated.safetensors.index.json").write_text(own)
    (folder / "consolidated.safetensors").write_bytes(b"there")
    assert missing() == [("consolidated-00001-of-00002.safetensors",)] * 2
    (folder / "consolidated-00001-of-00002.safetensors").write_bytes(b"there")
    assert missing() == [()] * 2


def test_memory_of_this_linux(tmp_path: Path) -> None:
    facts = ask(tmp_path)
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    kib = [int(lines[name].split()[0]) for name in ("MemTotal", "SwapTotal")]
    assert (facts.memory, facts.swap) == (kib[0] * 1024, kib[1] * 1024)


def test_a_script_that_says_nothing_leaves_everything_unknown() -> None:
    assert parse_probe("\nsomething else\n") == TargetFacts(None, False, None, None, None)
    assert parse_probe("memory much\ndevices.code none\n") == TargetFacts(
        None, False, None, None, None, devices=DeviceAnswer(None)
    )


# --- the question for the devices -------------------------------------------------------------------------------------


def test_the_answer_with_its_exit_code_and_both_streams(tmp_path: Path) -> None:
    program(tmp_path / "engine", '#!/bin/sh\necho "asked $*"\necho "  (none)"\necho oops >&2\nexit 3\n')
    answer = devices(tmp_path)
    assert answer.code == 3
    assert answer.said == ("asked --list-devices", "  (none)", "oops")
    assert answer.links is None, "of a script the loader knows nothing"


@pytest.mark.parametrize(("end", "code"), [("kill -SEGV $$", 139), ("exit 0", 0), ("/nowhere/x", 127)])
def test_an_end_is_told_as_a_shell_has_it(tmp_path: Path, end: str, code: int) -> None:
    program(tmp_path / "engine", f"#!/bin/sh\n{end}\n")
    assert devices(tmp_path).code == code


def test_an_engine_that_does_not_end_is_given_up(tmp_path: Path) -> None:
    program(tmp_path / "engine", "#!/bin/sh\necho begun\nexec sleep 60\n")
    answer = altered(tmp_path, "timeout -k 1 10", "timeout -k 1 0.2").devices
    assert answer is not None
    assert (answer.code, answer.said) == (TIMED_OUT, ("begun",))


def test_a_linux_without_timeout_asks_all_the_same(tmp_path: Path) -> None:
    program(tmp_path / "engine", "#!/bin/sh\necho here\n")
    answer = altered(tmp_path, "command -v timeout", "command -v no-such-program").devices
    assert answer is not None
    assert (answer.code, answer.said) == (0, ("here",))


def test_an_engine_that_reads_its_input_or_floods_holds_up_nothing(tmp_path: Path) -> None:
    program(tmp_path / "engine", "#!/bin/sh\ncat\nseq 1 100000\n")
    assert devices(tmp_path).said == tuple(str(number) for number in range(99_961, 100_001))


def test_the_question_sees_what_the_start_sees_and_no_stray_variable(tmp_path: Path) -> None:
    program(tmp_path / "engine", '#!/bin/sh\nenv >"$HOME/$1"\n')
    assert devices(tmp_path, **STRAY, **KEPT).code == 0
    lines: list[LogLine] = []
    events: queue.SimpleQueue[ProcessEvent] = queue.SimpleQueue()
    start = build_command(LLAMA)
    process = launcher(tmp_path, **STRAY, **KEPT).launch(f"run-{os.getpid()}", start, lines.append, events.put)
    while not isinstance(events.get(timeout=20), ChannelClosed):
        pass
    assert process.join(20)
    own = ("KOTARO_RUN=", "PWD=", "OLDPWD=", "SHLVL=", "_=")
    asked, seen = (
        sorted(line for line in (tmp_path / word).read_text().splitlines() if not line.startswith(own))
        for word in ("--list-devices", "-m")
    )
    assert asked == seen
    values = dict(line.split("=", 1) for line in seen if "=" in line)
    assert {name for name in STRAY if name in values} == {"CUDA_VISIBLE_DEVICES", "XDG_CONFIG_HOME"}
    assert (values["CUDA_VISIBLE_DEVICES"], values["XDG_CONFIG_HOME"]) == ("0", "/dev/null")
    assert {name: values[name] for name in KEPT} == KEPT


# --- what the loader says ---------------------------------------------------------------------------------------------


def test_a_program_that_is_linked_with_nothing_of_cuda(tmp_path: Path) -> None:
    shutil.copy("/bin/true", tmp_path / "engine")
    assert devices(tmp_path).links == ()


@pytest.mark.parametrize("place", ["libggml-cuda.so", "../lib/libggml-cuda.so"])
def test_a_cuda_backend_beside_is_seen_and_what_it_lacks_is_named(tmp_path: Path, place: str) -> None:
    """The official archives: a program that loads the backend by itself, and says nothing when it cannot."""
    folder = tmp_path / "bin"
    program(folder / "llama-server", "#!/bin/sh\necho Available devices:\necho '  (none)'\n")
    (folder / place).parent.mkdir(exist_ok=True)
    shutil.copy("/bin/true", folder / place)
    (tmp_path / "engine").symlink_to(folder / "llama-server")
    loader = "printf '\\tlibcudart.so.12 => not found\\n\\tlibm.so.6 => /lib/libm.so.6 (0x1)\\n'"
    program(tmp_path / "tools" / "ldd", f"#!/bin/sh\ncase $1 in *.so) {loader} ;; *) exit 1 ;; esac\n")
    answer = devices(tmp_path, PATH=f"{tmp_path}/tools:{os.environ['PATH']}")
    assert answer.links is not None
    backend, missing = answer.links
    assert os.path.realpath(backend) == os.path.realpath(folder / place)
    assert missing == "libcudart.so.12 => not found"


# --- files that the engine reads by itself ----------------------------------------------------------------------------


def test_the_users_config_file_is_seen_where_the_engine_would_look(tmp_path: Path) -> None:
    assert ask(tmp_path).configs == ()
    no: dict[str, str] = {}
    for folder, more in (("config", no), (".config", {"XDG_CONFIG_HOME": ""})):
        file = program(tmp_path / folder / "llama.cpp" / "config.ini", "[default]\n\ncpu-moe = true\n")
        lines = ("[default]", "", "cpu-moe = true")
        assert ask(tmp_path, env=more).configs == (ConfigFile(str(file), True, lines),)
        file.unlink()


def test_the_systems_config_file_is_told_apart(tmp_path: Path) -> None:
    file = program(tmp_path / "etc" / "llama.cpp" / "config.ini", "n-gpu-layers = 0\n")
    program(tmp_path / ".config" / "llama.cpp" / "config.ini", "x = 1\n" * 50)
    old = "XDG_CONFIG_HOME:-"
    facts = altered(
        tmp_path, f'/etc/llama.cpp/config.ini\n    config user "${{{old}', f'{file}\n    config user "${{X:-'
    )
    assert facts.configs is not None
    system, own = facts.configs
    assert system == ConfigFile(str(file), False, ("n-gpu-layers = 0",))
    assert (own.avoidable, len(own.lines)) == (True, 20)


def test_an_empty_config_file_and_one_that_cannot_be_read_are_there_too(tmp_path: Path) -> None:
    file = tmp_path / "config" / "llama.cpp" / "config.ini"
    file.mkdir(parents=True)
    assert ask(tmp_path).configs == (ConfigFile(str(file), True, ()),)


# --- vLLM -------------------------------------------------------------------------------------------------------------

PYTHON = '#!/bin/sh\necho "vllm $(basename "$0")"\n'


def vllm_devices(home: Path, **more: str) -> DeviceAnswer:
    facts = launcher(home, **more).probe(Engine.VLLM, device_question(VLLM), "", "", 1)
    assert facts.configs is None, "vLLM has no such files"
    assert facts.devices is not None
    return facts.devices


@pytest.mark.parametrize(
    ("first", "python"),
    [
        ("#!{home}/venv/bin/python", "python"),
        ("#!{home}/venv/bin/python3.12 -I", "python3.12"),
        ("#!{home}/gone/bin/python", "python3"),  # a venv that was moved
        ("#!/bin/sh", "python3"),  # pip's way for long paths
        ("", "python3"),
    ],
)
def test_the_python_of_vllms_own_environment_is_asked(tmp_path: Path, first: str, python: str) -> None:
    for name in ("python", "python3", "python3.12"):
        program(tmp_path / "venv" / "bin" / name, PYTHON)
    program(tmp_path / "venv" / "bin" / "vllm", first.format(home=tmp_path) + "\n")
    assert vllm_devices(tmp_path) == DeviceAnswer(0, (f"vllm {python}",))


def test_a_link_to_vllm_leads_to_its_environment(tmp_path: Path) -> None:
    """As pipx and `uv tool` install it."""
    program(tmp_path / "tools" / "vllm" / "bin" / "python", PYTHON)
    target = program(tmp_path / "tools" / "vllm" / "bin" / "vllm", "#!/bin/sh\n")
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "vllm").symlink_to(target)
    assert vllm_devices(tmp_path).said == ("vllm python",)


def test_a_vllm_for_the_python_of_the_system(tmp_path: Path) -> None:
    program(tmp_path / "venv" / "bin" / "vllm", "#!/usr/bin/env python3\n")
    program(tmp_path / "system" / "python3", PYTHON)
    assert vllm_devices(tmp_path, PATH=f"{tmp_path}/system:{os.environ['PATH']}").said == ("vllm python3",)


def test_a_vllm_without_any_python(tmp_path: Path) -> None:
    program(tmp_path / "venv" / "bin" / "vllm", "#!/bin/sh\n")
    assert vllm_devices(tmp_path) == DeviceAnswer(None)


def test_the_real_script_reaches_the_python(tmp_path: Path) -> None:
    program(tmp_path / "venv" / "bin" / "vllm", f"#!{sys.executable}\n")
    answer = vllm_devices(tmp_path)
    assert answer.code == 0
    assert any(line.startswith("driver ") for line in answer.said), answer.said

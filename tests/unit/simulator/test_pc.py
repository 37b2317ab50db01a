"""The simulated PC seen by the product: NVML, counters, ports, switches, claims; and nvidia-smi's formats."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.gpu import GpuCounters
from kotaro_bridge.simulator import nvidia_smi, wslinfo
from kotaro_bridge.simulator import pc as pc_module
from kotaro_bridge.simulator.card import MIB, Claim, Usage, live_claims
from kotaro_bridge.simulator.pc import SimulatedPC
from kotaro_bridge.simulator.scenario import load
from kotaro_bridge.simulator.state import State
from tests.helpers.simulated import processes_of, running, simulated_pc, until

if sys.platform == "win32":
    pytest.skip("claims are checked against Linux processes", allow_module_level=True)

HOLDER = (
    "import sys, time\n"
    "from kotaro_bridge.simulator.card import Claim\n"
    "from kotaro_bridge.simulator.state import State\n"
    "claim = Claim(State(sys.argv[1]), 'holder'); print(claim.grow(int(sys.argv[2])), flush=True); time.sleep(100)"
)


@pytest.fixture
def pc(tmp_path: Path) -> Iterator[SimulatedPC]:
    with simulated_pc(tmp_path / "pc") as opened:
        yield opened


@pytest.fixture
def state(pc: SimulatedPC, monkeypatch: pytest.MonkeyPatch) -> State:
    monkeypatch.setenv("KOTARO_SIM", str(pc.folder))
    return State(str(pc.folder))


def held(pc: SimulatedPC) -> int:
    """VRAM in use in MiB, as NVML says."""
    used = pc.gpu.snapshot()[0].used
    assert used is not None
    return used // MIB


def counters(pc: SimulatedPC) -> GpuCounters:
    found = pc.counters.read()
    assert found is not None
    return found


def test_programs_that_start_later_push_an_engine_into_system_memory(pc: SimulatedPC, state: State) -> None:
    claim = Claim(state, "engine")
    assert claim.grow(10_000 * MIB)
    pc.set(programs=[{"name": "Game.exe", "pid": 5120, "mib": 2000, "shared_mib": 12}])
    now = counters(pc)
    room = 12282 - 234 - 1050 - 2000
    assert now.shared == (190 + 12 + 10_000 - room) * MIB
    held_by = {each.name: (each.dedicated // MIB, each.shared // MIB) for each in now.processes}
    assert held_by["Game.exe"] == (2000, 12)
    assert held_by["vmmemWSL"] == (room, 10_000 - room)
    assert pc.gpu.snapshot()[0].free == 0
    pc.set(programs=[{"name": "Game.exe", "pid": 5120, "mib": 20_000}])
    assert {each.name: each.dedicated for each in counters(pc).processes}["vmmemWSL"] == 0


def test_counters_and_driver_may_change(pc: SimulatedPC) -> None:
    assert pc.gpu.snapshot()[0].driver == "580.88"
    pc.set(driver="581.15", counters="missing")
    assert pc.gpu.snapshot()[0].driver == "581.15"
    assert pc.counters.read() is None
    pc.set(driver=None, counters="normal")
    assert pc.gpu.snapshot()[0].driver == "580.88"
    assert counters(pc).shared == 190 * MIB


def test_the_card_at_rest(pc: SimulatedPC) -> None:
    (gpu,) = pc.gpu.snapshot()
    assert (gpu.name, gpu.total, gpu.compute_cap) == ("NVIDIA GeForce RTX 4070", 12282 * MIB, "8.9")
    assert held(pc) == 1050
    assert gpu.free == (12282 - 1050 - 234) * MIB
    assert gpu.utilization == 0
    assert gpu.bandwidth() == pytest.approx(504e9, rel=0.001)
    now = counters(pc)
    assert now.shared == 190 * MIB
    assert [process.name for process in now.processes][:2] == ["dwm.exe", "msedge.exe"]


def test_vram_follows_a_claim_and_a_killed_process_gives_it_back(pc: SimulatedPC) -> None:
    command = [sys.executable, "-c", HOLDER, str(pc.folder), str(4000 * MIB)]
    with running(pc, command) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"True\n"
        assert held(pc) == 5050
        largest = counters(pc).processes[0]
        assert (largest.name, largest.dedicated, largest.shared) == ("vmmemWSL", 4000 * MIB, 0)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert held(pc) == 1050


def test_a_claim_beyond_the_card_fails_unless_the_driver_spills(state: State, pc: SimulatedPC) -> None:
    claim = Claim(state, "test")
    assert not claim.grow(12_000 * MIB)
    assert claim.bytes == 0
    pc.set(vram_limit_mib=7000)
    assert claim.grow(10_000 * MIB)
    assert held(pc) == 1050 + 7000
    assert counters(pc).shared == (190 + 3000) * MIB
    assert counters(pc).processes[0].shared == 3000 * MIB
    claim.pin(30 * MIB)
    claim.work(0.5)
    (gpu,) = pc.gpu.snapshot()
    assert (gpu.utilization, gpu.temperature_c) == (0.5, 52)
    assert Usage(state).shared == (190 + 3000 + 30) * MIB


def test_a_claim_of_an_earlier_process_with_the_same_pid_does_not_count(state: State) -> None:
    Claim(state, "test").grow(100 * MIB)
    (path,) = Path(state.path("gpu", "claims")).iterdir()
    path.write_text(path.read_text().replace('"start": ', '"start": 1'), encoding="utf-8")
    assert live_claims(state) == []


@pytest.mark.parametrize(
    ("mode", "code"), [("missing", "gpu.no_driver"), ("lost", "gpu.driver_lost"), ("failed", "gpu.nvml_failed")]
)
def test_nvml_that_does_not_answer(pc: SimulatedPC, mode: str, code: str) -> None:
    pc.set(nvml=mode)
    with pytest.raises(ProblemError) as caught:
        pc.gpu.snapshot()
    assert caught.value.problem.code == code


def test_ports(pc: SimulatedPC) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert not pc.windows_port_free(port)
    assert pc.windows_port_free(port)
    pc.set(windows_ports_taken=[port])
    assert not pc.windows_port_free(port)


def test_switches_are_known_by_name(pc: SimulatedPC) -> None:
    with pytest.raises(KeyError):
        pc.set(nvlm="lost")


def test_nvidia_smi_goes_and_comes_back(pc: SimulatedPC) -> None:
    program = pc.local_env["NVIDIA_SMI"]
    for mode, there in (("missing", False), ("missing", False), ("normal", True)):
        pc.set(nvidia_smi=mode)
        assert Path(program).exists() is there
    listed = subprocess.run([program, "-L"], capture_output=True, check=True)
    assert listed.stdout.startswith(b"GPU 0: NVIDIA GeForce RTX 4070 (UUID: GPU-")


def test_closing_twice_and_a_pc_whose_distro_runs_from_the_start(tmp_path: Path) -> None:
    first = SimulatedPC.open("rtx4070-12gb", tmp_path / "pc")
    first.close()
    first.close()
    with simulated_pc(tmp_path / "pc") as again:
        again.boot("docker-desktop")
        assert again.running() == ["docker-desktop"]
        assert processes_of(again.folder)
    until(lambda: not processes_of(tmp_path / "pc"), what="the VM ends")


def test_a_pc_that_nobody_has_open_starts_anew_with_its_files(tmp_path: Path) -> None:
    with simulated_pc(tmp_path / "pc", nvml="lost") as first:
        first.advance(100)
        first.wslconfig_path.write_text("[wsl2]\n", encoding="utf-8")
        scenario = first.folder / "scenario.json"
    scenario.write_text('{"title": "of an older version"}', encoding="utf-8")
    with simulated_pc(tmp_path / "pc", "rtx4090-24gb") as again:
        assert again.scenario.title == "RTX 4090, 24 GB"
        assert again.gpu.snapshot()[0].total == 24564 * MIB
        assert again.wslconfig_path.read_text(encoding="utf-8") == "[wsl2]\n"
        assert not (again.folder / "clock.json").exists()


def test_a_distro_that_somebody_else_uses_runs_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = load("rtx4070-12gb")
    docker = msgspec.structs.replace(scenario.distros[0], running=True)
    busy = msgspec.structs.replace(scenario, distros=(docker, *scenario.distros[1:]), vm_boot_s=0.0, distro_boot_s=0.0)
    monkeypatch.setattr(pc_module, "load", lambda name: busy)
    with simulated_pc(tmp_path / "pc", "any") as pc:
        assert pc.running() == ["docker-desktop"]
        pc.advance(3600)
        assert pc.running() == ["docker-desktop"]


def test_closing_ends_engines_that_were_started_without_wsl(tmp_path: Path) -> None:
    with simulated_pc(tmp_path / "pc") as pc:
        command = [sys.executable, "-c", HOLDER, str(pc.folder), str(MIB)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **pc.env})
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
    assert process.wait(10) == -signal.SIGKILL


def test_a_folder_that_is_no_pc_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOTARO_SIM", str(tmp_path))
    with pytest.raises(SystemExit, match="KOTARO_SIM"):
        State.from_environment()


ALL_FIELDS = (
    "index,uuid,name,driver_version,memory.total,memory.used,memory.free,compute_cap,utilization.gpu,"
    "temperature.gpu,power.draw,clocks.max.memory"
)


@pytest.mark.usefixtures("state")
class TestNvidiaSmi:
    """Formats of captures/nvidia-smi, with the numbers of the simulated card."""

    def test_what_the_product_asks_for(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert nvidia_smi.main([f"--query-gpu={ALL_FIELDS}", "--format=csv,noheader,nounits"]) == 0
        assert capsys.readouterr().out == (
            "0, GPU-5f1c0d5e-7a31-4b0e-9f52-4d70c0ffee12, NVIDIA GeForce RTX 4070, 580.88, 12282, 1050, 10998, 8.9, 0, "
            "38, 14.00, 10501\n"
        )

    def test_header_and_units(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert nvidia_smi.main(["--query-gpu=name, memory.used", "--format=csv", "-i=0"]) == 0
        assert capsys.readouterr().out == "name, memory.used [MiB]\nNVIDIA GeForce RTX 4070, 1050 MiB\n"

    def test_no_processes_are_listed(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert nvidia_smi.main(["--query-compute-apps=pid,process_name,used_gpu_memory", "--format=csv"]) == 0
        assert capsys.readouterr().out == "pid, process_name, used_gpu_memory [MiB]\n"

    @pytest.mark.parametrize(
        ("argument", "text"),
        [
            ("--query-gpu=name,bogus", 'Field "bogus" is not a valid field to query.\n\n'),
            (
                "--id=7",
                "ERROR: Option --id=7 is not valid for this command. Please run 'nvidia-smi -h' for help.\n\n",
            ),
            ("--odd", "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n--odd\n"),
        ],
    )
    def test_wrong_arguments(self, capsys: pytest.CaptureFixture[str], argument: str, text: str) -> None:
        assert nvidia_smi.main([argument]) == 2
        assert capsys.readouterr().out == text

    def test_the_table_keeps_its_width(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert nvidia_smi.main([]) == 0
        lines = capsys.readouterr().out.splitlines()[1:]
        assert {len(line) for line in lines if line} == {91}
        assert any("1050MiB /  12282MiB" in line for line in lines)

    def test_versions(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert nvidia_smi.main(["--version"]) == 0
        assert "DRIVER version      : 580.88\n" in capsys.readouterr().out

    def test_blocked(self, pc: SimulatedPC, capsys: pytest.CaptureFixture[str]) -> None:
        pc.set(nvidia_smi="blocked")
        assert nvidia_smi.main(["-L"]) == 17
        assert "GPU access blocked by the operating system" in capsys.readouterr().out


@pytest.mark.usefixtures("state")
def test_wslinfo_without_a_vm(capsys: pytest.CaptureFixture[str]) -> None:
    assert wslinfo.main(["--networking-mode"]) == 0
    assert capsys.readouterr().out == "wsl1\n"
    assert wslinfo.main(["--odd"]) == 1

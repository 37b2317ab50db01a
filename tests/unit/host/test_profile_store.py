"""Profiles from files: the seven built-in ones and their figures, the user's own, and files that are none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from kotaro_bridge.domain.engine.command import build_command
from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.profile_edit import Value
from kotaro_bridge.domain.units import GIB, MIB
from kotaro_bridge.host.profile_store import ProfileFolder, load_profiles, new_text
from kotaro_bridge.resources import resource

MINE = """title = "Mine"
engine = "llama-server"
executable = "llama-server"
model = "~/m.gguf"
served_name = "mine"
context = 4096
port = 8081
"""
# Budget less weights and KV of the two starts measured with 2048 batched tokens and 16 sequences (captures).
VLLM_REST_GIB = max(0.15 * 81_079 / 1024 - 9.53 - 0.63, 0.29 * 81_079 / 1024 - 18.49 - 2.76)


@pytest.fixture(scope="module")
def builtin(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Profile]:
    profiles, problems = load_profiles(tmp_path_factory.mktemp("none"))
    assert problems == ()
    return {profile.id: profile for profile in profiles}


def test_the_built_in_profiles_from_small_to_large(builtin: dict[str, Profile]) -> None:
    assert list(builtin) == [
        "qwen2.5-7b-awq",
        "qwen2.5-14b-q4_k_m",
        "qwen2.5-14b-awq",
        "qwen2.5-7b-fp16",
        "minicpm-v-2.6",
        "qwen2.5-32b-q4_k_m",
        "qwen2.5-32b-awq",
    ]
    assert all(profile.builtin and profile.target == "wsl:" for profile in builtin.values())


def test_each_makes_a_command_and_states_its_need(builtin: dict[str, Profile]) -> None:
    for profile in builtin.values():
        assert build_command(profile, utilization=0.5).argv[0] == profile.executable
        assert profile.need is not None
        assert profile.need.source.startswith(("measured: ", "computed"))
        assert profile.port == (8000 if profile.engine is Engine.VLLM else 8080)
        if profile.engine is Engine.VLLM:
            assert profile.vllm is not None
            assert (profile.vllm.max_num_seqs, profile.vllm.max_num_batched_tokens) == (16, 2048)
    assert [profile.id for profile in builtin.values() if profile.sees_images] == ["minicpm-v-2.6"]


def test_the_14b_gguf_states_what_was_measured(builtin: dict[str, Profile]) -> None:
    assert builtin["qwen2.5-14b-q4_k_m"].stated_need == 10405 * MIB


def test_the_32b_gguf_states_what_was_measured(builtin: dict[str, Profile]) -> None:
    assert builtin["qwen2.5-32b-q4_k_m"].stated_need == 21359 * MIB


@pytest.mark.parametrize(
    ("profile_id", "weights_gib", "kv_kib_per_token", "extra_gib"),
    [
        ("qwen2.5-7b-awq", 5.38, 56, 0.0),
        ("qwen2.5-14b-awq", 9.53, 192, 0.0),
        ("qwen2.5-32b-awq", 18.49, 256, 0.0),
        ("qwen2.5-7b-fp16", 14.25, 56, 0.0),
        ("minicpm-v-2.6", 15.09, 56, 1.5),
    ],
)
def test_vllm_budgets_hold_one_request_of_the_whole_context(
    builtin: dict[str, Profile], profile_id: str, weights_gib: float, kv_kib_per_token: int, extra_gib: float
) -> None:
    profile = builtin[profile_id]
    assert profile.stated_need is not None
    one_block = 16  # tokens; vLLM keeps one back
    kv_gib = (profile.context + one_block) * kv_kib_per_token / 2**20
    above_gib = profile.stated_need / GIB - (weights_gib + kv_gib + VLLM_REST_GIB + extra_gib)
    assert 0.0 < above_gib < 0.7


def test_the_14b_awq_is_too_large_for_12_gb(builtin: dict[str, Profile]) -> None:
    need = builtin["qwen2.5-14b-awq"].stated_need
    assert need is not None
    assert need > 12_282 * MIB  # an RTX 4070, even if nothing else were on it


def test_the_user_s_profiles_come_first_and_replace(tmp_path: Path) -> None:
    (tmp_path / "zebra.toml").write_text(MINE.replace("Mine", "B"))
    (tmp_path / "qwen2.5-14b-awq.toml").write_text(MINE.replace("Mine", "A"))
    (tmp_path / "notes.txt").write_text("no profile")
    profiles, problems = load_profiles(tmp_path)
    assert problems == ()
    assert [(profile.id, profile.builtin) for profile in profiles[:3]] == [
        ("qwen2.5-14b-awq", False),
        ("zebra", False),
        ("qwen2.5-7b-awq", True),
    ]
    assert len(profiles) == 8


def test_a_file_of_windows_notepad(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xef\xbb\xbf" + MINE.replace("\n", "\r\n").replace("Mine", "私の").encode())
    profiles, problems = load_profiles(tmp_path)
    assert problems == ()
    assert profiles[0].title == "私の"


def test_broken_files_hide_no_other(tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text(MINE)
    (tmp_path / "Bad Name.toml").write_text(MINE)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "huge.toml").write_bytes(b"#" * (2 << 20))
    (tmp_path / "syntax.toml").write_text("title = ")
    (tmp_path / "unknown.toml").write_text(MINE + "gpu_layers = 20\n")
    profiles, problems = load_profiles(tmp_path)
    assert profiles[0].id == "good"
    assert len(profiles) == 8
    assert [(problem.code, Path(str(problem.params["file"])).name) for problem in problems] == [
        ("profile.id", "Bad Name.toml"),
        ("profile.unreadable", "binary.toml"),
        ("profile.unreadable", "folder.toml"),
        ("profile.unreadable", "huge.toml"),
        ("profile.syntax", "syntax.toml"),
        ("profile.key", "unknown.toml"),
    ]


def test_a_broken_file_takes_the_place_of_a_built_in_one(tmp_path: Path) -> None:
    (tmp_path / "qwen2.5-14b-awq.toml").write_text("title = ")
    profiles, problems = load_profiles(tmp_path)
    assert "qwen2.5-14b-awq" not in [profile.id for profile in profiles]
    assert [problem.code for problem in problems] == ["profile.syntax"]


def test_no_folder_of_the_user(tmp_path: Path) -> None:
    assert len(load_profiles(tmp_path / "missing")[0]) == 7


# --- changing a file --------------------------------------------------------------------------------------------------

COMMENTED = """# My profile
title = "Mine"   # a title
engine = "llama-server"
executable="llama-server"
model = '~/m.gguf'
served_name = "mine"

context   =  8192  # tokens
port = 8081

[need]   # measured by me
vram_mib = 9000
source = "measured: here"
"""


def written(folder: Path, text: str | bytes, name: str = "mine") -> Path:
    file = folder / f"{name}.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def refused(folder: Path, changes: dict[str, str | int | None], profile_id: str = "mine") -> str:
    """The code of the refusal; nothing but the files that were there is there afterwards, as they were."""
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(ProblemError) as caught:
        ProfileFolder(folder).change(profile_id, changes)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    return caught.value.problem.code


def test_a_change_leaves_everything_else_as_it_was(tmp_path: Path) -> None:
    file = written(tmp_path, COMMENTED)
    profile = ProfileFolder(tmp_path).change("mine", {"context": 6144})
    assert file.read_text() == COMMENTED.replace("8192", "6144")
    assert (profile.context, profile.title, profile.builtin, profile.id) == (6144, "Mine", False, "mine")
    assert load_profiles(tmp_path)[0][0] == profile == ProfileFolder(tmp_path).read("mine")


def test_keys_are_added_and_taken_out(tmp_path: Path) -> None:
    file = written(tmp_path, COMMENTED)
    profile = ProfileFolder(tmp_path).change("mine", {"kv_type": "q8_0", "need": None, "parallel": None})
    assert (profile.kv_type.value, profile.need) == ("q8_0", None)
    text = file.read_text()
    assert text.startswith(COMMENTED.partition("\n[need]")[0])
    assert "[need]" not in text
    assert ProfileFolder(tmp_path).read("mine") == profile


def test_windows_line_ends_and_notepad_s_mark_stay(tmp_path: Path) -> None:
    windows = "\ufeff" + COMMENTED.replace("\n", "\r\n").replace("Mine", "私の")
    file = written(tmp_path, windows)
    profile = ProfileFolder(tmp_path).change("mine", {"context": 6144, "kv_type": "q8_0"})
    assert (profile.title, profile.context) == ("私の", 6144)
    last = "port = 8081\r\n"
    assert file.read_bytes().decode() == windows.replace("8192", "6144").replace(last, last + 'kv_type = "q8_0"\r\n')


def test_a_built_in_profile_is_copied_to_the_user_first(tmp_path: Path, builtin: dict[str, Profile]) -> None:
    name = "qwen2.5-14b-q4_k_m"
    profile = ProfileFolder(tmp_path).change(name, {"context": 4096, "need": None})
    assert profile == msgspec.structs.replace(builtin[name], context=4096, need=None, builtin=False)
    assert load_profiles(tmp_path)[0][0] == profile
    assert resource(f"profiles/{name}.toml").read_text().count("8192") == 1
    assert ProfileFolder(tmp_path / "none").read(name) == builtin[name]


@pytest.mark.skipif(sys.platform == "win32", reason="a link needs rights there")
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "profiles", tmp_path / "dotfiles"
    folder.mkdir()
    elsewhere.mkdir()
    real = written(elsewhere, COMMENTED, "real")
    (folder / "mine.toml").symlink_to(real)
    ProfileFolder(folder).change("mine", {"context": 6144})
    assert (folder / "mine.toml").is_symlink()
    assert real.read_text() == COMMENTED.replace("8192", "6144")
    assert [path.name for path in elsewhere.iterdir()] == ["real.toml"]


def test_the_rights_of_the_file_stay(tmp_path: Path) -> None:
    file = written(tmp_path, COMMENTED)
    file.chmod(0o640)
    before = file.stat().st_mode
    ProfileFolder(tmp_path).change("mine", {"context": 6144})
    assert file.stat().st_mode == before


def test_a_file_that_is_read_only_stays(tmp_path: Path) -> None:
    file = written(tmp_path, COMMENTED)
    file.chmod(0o444)
    assert refused(tmp_path, {"context": 6144}) == "profile.not_saved"
    file.chmod(0o644)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ProblemError) as caught:
        ProfileFolder(tmp_path / "none").change("qwen2.5-14b-q4_k_m", {"context": 4096})
    assert caught.value.problem.code == "profile.not_saved"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_a_disk_without_room_leaves_the_file_alone(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: writing fails in the middle."""
    file = written(tmp_path, COMMENTED + "# long\n" * 10_000)
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from kotaro_bridge.domain.errors import ProblemError\n"
        "from kotaro_bridge.host.profile_store import ProfileFolder\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n    ProfileFolder(Path(sys.argv[1])).change('mine', {'context': 6144})\n"
        "except ProblemError as error:\n    print(error.problem.code)\n"
    )
    before = file.read_bytes()
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "profile.not_saved\n"
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


@pytest.mark.parametrize(
    ("text", "changes", "code"),
    [
        (COMMENTED, {"context": 1}, "profile.value"),
        (COMMENTED, {"kv_type": "fp8"}, "profile.kv_type"),
        (COMMENTED, {"gpu_layers": 20}, "profile.key"),
        (COMMENTED, {"title": None}, "profile.missing"),
        ("title = ", {"context": 6144}, "profile.syntax"),
        (b"\xff\xfe", {"context": 6144}, "profile.unreadable"),
    ],
)
def test_what_would_be_no_profile_is_not_written(
    tmp_path: Path, text: str | bytes, changes: dict[str, str | int | None], code: str
) -> None:
    written(tmp_path, text)
    assert refused(tmp_path, changes) == code


def test_a_profile_that_is_gone(tmp_path: Path) -> None:
    assert refused(tmp_path, {"context": 6144}, "nobody") == "profile.unreadable"


# --- made, taken over, removed ----------------------------------------------------------------------------------------


def not_made(store: ProfileFolder, profile_id: str, text: str = MINE, *, replace: bool = False) -> str:
    with pytest.raises(ProblemError) as caught:
        store.create(profile_id, text, replace=replace)
    return caught.value.problem.code


def test_a_profile_is_made_once(tmp_path: Path) -> None:
    store = ProfileFolder(tmp_path / "profiles")
    assert not store.has("mine")
    assert store.create("mine", MINE).title == "Mine"
    assert store.is_own("mine")
    assert store.has("mine")
    assert store.text("mine") == MINE
    assert not_made(store, "mine") == "profile.exists"
    assert store.create("mine", MINE.replace("Mine", "Other"), replace=True).title == "Other"
    assert [path.name for path in (tmp_path / "profiles").iterdir()] == ["mine.toml"]


def test_a_built_in_profile_gives_way_only_when_asked_to(tmp_path: Path) -> None:
    store = ProfileFolder(tmp_path)
    assert store.has("qwen2.5-7b-awq")
    assert not store.is_own("qwen2.5-7b-awq")
    assert not_made(store, "qwen2.5-7b-awq") == "profile.exists"
    assert not store.create("qwen2.5-7b-awq", MINE, replace=True).builtin
    store.remove("qwen2.5-7b-awq")
    assert store.read("qwen2.5-7b-awq").builtin


@pytest.mark.parametrize("wrong", ["../mine", "a/b", "", "A", "mine.toml/..", ".hidden", "a" * 65])
def test_an_id_is_no_path(tmp_path: Path, wrong: str) -> None:
    store = ProfileFolder(tmp_path / "profiles")
    (tmp_path / "mine.toml").write_text(MINE)
    for act in (store.read, store.text, store.remove, store.has):
        with pytest.raises(ProblemError) as caught:
            act(wrong)
        assert caught.value.problem.code == "profile.id"
    assert not_made(store, wrong, replace=True) == "profile.id"
    assert (tmp_path / "mine.toml").read_text() == MINE


def test_what_is_no_profile_is_not_written(tmp_path: Path) -> None:
    store = ProfileFolder(tmp_path)
    store.create("mine", MINE)
    assert not_made(store, "mine", "title = 3", replace=True) == "profile.value"
    assert store.text("mine") == MINE
    assert not_made(store, "new", "no toml") == "profile.syntax"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not_made(ProfileFolder(tmp_path / "file"), "mine") == "profile.not_saved"


def test_only_own_profiles_are_removed_broken_ones_too(tmp_path: Path) -> None:
    store = ProfileFolder(tmp_path)
    (tmp_path / "broken.toml").write_text("no toml")
    store.remove("broken")
    for profile_id, code in (("broken", "profile.unknown"), ("qwen2.5-7b-awq", "profile.builtin_stays")):
        with pytest.raises(ProblemError) as caught:
            store.remove(profile_id)
        assert caught.value.problem.code == code
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ProblemError) as caught:
        store.remove("folder")
    assert caught.value.problem.code == "profile.not_removed"


def test_keys_of_tables_and_lists_are_changed_in_their_place(tmp_path: Path) -> None:
    store = ProfileFolder(tmp_path)
    text = MINE.replace("llama-server", "vllm") + "\n[vllm] # of vLLM alone\nmax_num_seqs = 4\n"
    store.create("mine", text)
    changed = store.change("mine", {"vllm.images": True, "gpus": (0, 1), "need.vram_mib": 9, "need.source": "here"})
    assert (changed.gpus, changed.stated_need) == ((0, 1), 9 * MIB)
    assert changed.vllm is not None
    assert (changed.vllm.images, changed.vllm.max_num_seqs) == (True, 4)
    assert "# of vLLM alone" in store.text("mine")
    less = store.change("mine", {"need": None, "vllm.max_num_seqs": None, "gpus": None, "vllm.nothing": None})
    assert (less.need, less.gpus, less.vllm and less.vllm.max_num_seqs) == (None, (0,), 16)


def test_a_new_file_has_its_keys_before_its_tables(tmp_path: Path) -> None:
    keys: dict[str, Value] = {"vllm.images": True, "title": "T", "engine": "vllm", "executable": "v", "model": "m"}
    text = new_text(keys | {"served_name": "s", "context": 512, "port": 8000, "extra_args": ("--seed", "1")})
    made = ProfileFolder(tmp_path).create("new", text)
    assert made.vllm is not None
    assert made.vllm.images
    assert made.extra_args == ("--seed", "1")

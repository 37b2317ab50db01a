"""A profile as the fields of a form: it comes back the same, all mistakes are found at once, what a save changes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.catalogue import CatalogueEntry
from kotaro_bridge.domain.model.hub import HubFile, HubListing, choose
from kotaro_bridge.domain.profile import PROFILE_ID, KvType, Profile, VllmOptions, VramNeed, decode_profile
from kotaro_bridge.domain.profile_form import (
    KEYS,
    argument_problems,
    form_changes,
    form_keys,
    keys_of_entry,
    new_id,
    read_form,
    texts_of,
    with_engine,
)
from kotaro_bridge.host.catalogue_store import load_catalogue
from kotaro_bridge.host.profile_store import new_text

BUILTIN = sorted((Path(__file__).parents[3] / "resources" / "profiles").glob("*.toml"))
LLAMA = Profile(
    "Q", Engine.LLAMA_SERVER, "~/llama-server", "~/q.gguf", "q", 8192, 8080, id="q", need=VramNeed(9000, "measured: x")
)
VLLM = Profile("V", Engine.VLLM, "~/vllm", "~/v", "v", 8192, 8000, id="v", need=VramNeed(9000, "measured: x"))


def codes(texts: dict[str, str], base: Profile = LLAMA) -> dict[str, list[str]]:
    return {key: [each.code for each in found] for key, found in read_form(texts, base).problems.items()}


@pytest.mark.parametrize("file", BUILTIN, ids=lambda file: file.stem)
def test_fields_say_what_the_file_says(file: Path) -> None:
    profile = decode_profile(file.read_text(), file=file.name, profile_id=file.stem, builtin=True)
    form = read_form(texts_of(profile), profile)
    assert form.is_sound
    assert form.profile == profile
    assert form_changes(profile, form.profile) == {}
    again = decode_profile(new_text(form_keys(profile)), file="x", profile_id=profile.id, builtin=True)
    assert again == profile


def test_all_mistakes_are_found_at_once_and_the_rest_can_be_planned() -> None:
    texts = texts_of(LLAMA) | {"title": " ", "port": "80", "watch": "maybe", "parallel": "x", "context": "4096"}
    assert codes(texts) == {
        "title": ["editor.empty"],
        "port": ["editor.at_least"],
        "watch": ["editor.value"],
        "parallel": ["editor.number"],
    }
    form = read_form(texts, LLAMA)
    assert form.profile.context == 4096
    assert not form.can_be_planned, "how many requests is not known"
    assert read_form(texts | {"parallel": "2"}, LLAMA).can_be_planned


@pytest.mark.parametrize(
    ("key", "text", "code"),
    [
        ("context", "12", "editor.at_least"),
        ("context", "99999999", "editor.at_most"),
        ("context", "8k", "editor.number"),
        ("context", "", "editor.empty"),
        ("kv_type", "fp8", "editor.kv_type"),
        ("target", "C:", "editor.target"),
        ("gpus", "", "editor.empty"),
        ("gpus", "0,0", "profile.card_twice"),
        ("model", "~/\u202eq.gguf", "editor.control"),
        ("model", "--cpu-offload-gb=10", "editor.reads_as_option"),
        ("extra_args", "--temp '0.7", "editor.quotes"),
        ("extra_args", "--temp", "command.value_missing"),
        ("extra_args", "-ngl 3", "command.forbidden.layers"),
    ],
)
def test_each_mistake_has_its_reason(key: str, text: str, code: str) -> None:
    assert codes(texts_of(LLAMA) | {key: text}) == {key: [code]}


def test_what_the_other_engine_has_does_not_count() -> None:
    assert codes(texts_of(LLAMA) | {"vllm.max_num_seqs": "none"}) == {}
    assert codes(texts_of(VLLM) | {"projector": "\n\n"}, VLLM) == {}


def test_every_argument_that_is_refused_is_named() -> None:
    args = ("--temp", "0.7", "-ngl", "20", "--rpc", "host:1", "--seed", "--foo", "a", "b")
    found = argument_problems(msgspec.structs.replace(LLAMA, extra_args=args))
    assert [(each.code, each.params["argument"]) for each in found] == [
        ("command.forbidden.layers", "-ngl"),
        ("command.forbidden.remote_device", "--rpc"),
        ("command.value_missing", "--seed"),
        ("command.unknown_argument", "--foo"),
    ]


@given(st.fixed_dictionaries({key: st.text(max_size=12) for key in KEYS if key != "engine"}))
def test_whatever_is_typed_the_form_answers(texts: dict[str, str]) -> None:
    for engine, base in ((Engine.LLAMA_SERVER, LLAMA), (Engine.VLLM, VLLM)):
        form = read_form(texts | {"engine": engine.value}, base)
        assert form.profile.engine is engine
        if form.is_sound:
            assert decode_profile(new_text(form_keys(form.profile)), file="x", profile_id=base.id).model


def test_a_stated_need_goes_with_what_it_was_measured_at() -> None:
    def changes(base: Profile, **texts: str) -> dict[str, object]:
        return dict(form_changes(base, read_form(texts_of(base) | texts, base).profile))

    assert changes(LLAMA, title="Other") == {"title": "Other"}
    assert changes(LLAMA, context="4096") == {"context": 4096, "need": None}
    assert changes(VLLM, context="4096") == {"context": 4096}, "vLLM's is the budget, whatever the context"
    assert changes(VLLM, **{"vllm.max_num_seqs": "32"}) == {"vllm.max_num_seqs": 32, "need": None}
    assert changes(VLLM, gpus="0,1") == {"gpus": (0, 1), "need": None}


def test_another_engine_takes_out_what_was_the_old_ones() -> None:
    base = msgspec.structs.replace(VLLM, vllm=VllmOptions(images=True), version="0.25.1", kv_type=KvType.FP8)
    texts = with_engine(texts_of(base), Engine.LLAMA_SERVER)
    assert texts["kv_type"] == "auto"
    found = form_changes(base, read_form(texts, base).profile)
    assert found["engine"] == "llama-server"
    assert (found["vllm"], found["need"], found["version"]) == (None, None, None)
    assert texts["executable"] == "~/vllm", "what a person has typed stays"


@pytest.mark.parametrize(
    ("title", "wanted"),
    [("Qwen2.5 14B (Q4)", "qwen2.5-14b-q4"), ("q", "q-2"), ("日本語", "model"), ("--", "model"), ("x" * 99, "x" * 56)],
)
def test_an_id_comes_from_the_title(title: str, wanted: str) -> None:
    assert new_id(title, ["q"]) == wanted


@given(st.text(), st.lists(st.text(max_size=3)))
def test_an_id_is_one_and_new(title: str, taken: list[str]) -> None:
    found = new_id(title, taken)
    assert PROFILE_ID.match(found)
    assert found not in taken


@pytest.mark.parametrize("entry", load_catalogue(), ids=lambda entry: entry.id)
def test_every_model_of_the_catalogue_makes_a_profile(entry: CatalogueEntry) -> None:
    engine = Engine(str(keys_of_entry(entry)["engine"]))
    made = decode_profile(
        new_text(keys_of_entry(entry) | {"executable": "~/x", "port": 8080}), file="x", profile_id="x"
    )
    assert (made.engine, made.title, bool(made.projector)) == (engine, entry.name, entry.projector is not None)


@pytest.mark.parametrize("entry", load_catalogue(), ids=lambda entry: entry.id)
def test_a_profile_names_its_files_where_a_download_puts_them(entry: CatalogueEntry) -> None:
    named = (*entry.files, entry.projector) if entry.projector else entry.files
    listed = tuple(HubFile(file.name, 1) for file in named) or (HubFile("config.json", 1), HubFile("a.safetensors", 1))
    wanted = tuple(file.name for file in named)
    folder = choose(entry.repository, HubListing("c" * 40, listed), wanted).folder
    keys = keys_of_entry(entry)
    assert keys["model"] == (f"{folder}/{entry.files[0].name}" if entry.files else folder)
    assert keys.get("projector") in (None, f"{folder}/{entry.projector.name}" if entry.projector else None)


def test_what_belongs_to_the_other_engine_goes_with_it() -> None:
    base = msgspec.structs.replace(VLLM, vllm=VllmOptions(images=True), need=None)
    changed = form_changes(base, msgspec.structs.replace(LLAMA, id="v", need=None))
    assert changed["engine"] == "llama-server"
    assert changed["vllm"] is None
    base = msgspec.structs.replace(LLAMA, projector="~/p.gguf", version="b1")
    changed = form_changes(base, msgspec.structs.replace(VLLM, id="q", need=None))
    assert (changed["engine"], changed["projector"], changed["version"], changed["need"]) == ("vllm", None, None, None)


def test_a_port_of_ones_own_stays_with_another_engine_and_a_type_it_lacks_does_not() -> None:
    texts = with_engine(texts_of(LLAMA) | {"port": "9000", "kv_type": "q8_0"}, Engine.VLLM)
    assert (texts["port"], texts["kv_type"]) == ("9000", "auto")
    plain = with_engine(texts_of(LLAMA) | {"executable": ""}, Engine.VLLM)
    assert (plain["port"], plain["kv_type"]) == ("8000", "auto")
    assert plain["executable"].endswith("/vllm")


def test_a_file_states_no_need_where_none_is_known() -> None:
    assert not any(key.startswith("need") for key in form_keys(msgspec.structs.replace(LLAMA, need=None)))
    assert form_keys(LLAMA)["need.vram_mib"] == 9000


def test_a_mistake_that_is_in_no_field_is_ours() -> None:
    with pytest.raises(ProblemError) as caught:
        read_form(texts_of(LLAMA), msgspec.structs.replace(LLAMA, id="con"))
    assert caught.value.problem.code == "profile.id"

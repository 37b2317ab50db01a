"""Changes of a profile as a person types them."""

from __future__ import annotations

import pytest

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.profile_edit import (
    EXECUTABLES,
    PORTS,
    Value,
    known_keys,
    new_profile,
    parse_edits,
    with_engine,
)

LLAMA = Engine.LLAMA_SERVER
USUAL = Profile("t", LLAMA, EXECUTABLES[LLAMA], "m", "s", 4096, PORTS[LLAMA])
OWN = Profile("t", LLAMA, "~/own", "m", "s", 4096, 9000)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("context=16384", 16384),
        ("title=Qwen = good", "Qwen = good"),
        ("port=8081", 8081),
        ("gpus=0,1", (0, 1)),
        ("gpus=1", (1,)),
        ("gpus=0, 2", (0, 2)),
        ("extra_args=--temp 0.7 --chat-template 'a b'", ("--temp", "0.7", "--chat-template", "a b")),
        ("kv_type=q8_0", "q8_0"),
        ("vllm.images=true", True),
        ("vllm.trust_remote_code=False", False),
        ("vllm.max_num_seqs=4", 4),
        ("need.vram_mib=9000", 9000),
        ("need.source=measured: here", "measured: here"),
        ("need=", None),
        ("kv_type=", None),
    ],
)
def test_words_become_values(word: str, value: Value | None) -> None:
    assert parse_edits([word]) == {word.partition("=")[0]: value}


def test_the_last_of_several_counts() -> None:
    assert parse_edits(["context=1", "port=2", "context=3"]) == {"context": 3, "port": 2}


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("context", "profile.edit_form"),
        ("contxt=5", "profile.edit_key"),
        ("id=other", "profile.edit_key"),
        ("builtin=true", "profile.edit_key"),
        ("gpu=1", "profile.edit_key"),
        ("vllm=images", "profile.edit_key"),
        ("vllm.nothing=1", "profile.edit_key"),
        ("=5", "profile.edit_key"),
        ("context=many", "profile.edit_value"),
        ("context=8k", "profile.edit_value"),
        ("port=0x1f90", "profile.edit_value"),
        ("gpus=both", "profile.edit_value"),
        ("gpus=0,,1", "profile.edit_value"),
        ("vllm.images=yes", "profile.edit_value"),
        ("extra_args='open", "profile.edit_value"),
        ("context=" + "9" * 400, "profile.edit_value"),
    ],
)
def test_what_cannot_be_meant_is_refused(word: str, code: str) -> None:
    with pytest.raises(ProblemError) as caught:
        parse_edits([word])
    assert caught.value.problem.code == code


def test_every_key_of_a_file_can_be_edited() -> None:
    keys = known_keys()
    assert {key.partition(".")[0] for key in keys} == set(Profile.__struct_fields__) - {"id", "builtin"}
    assert {"vllm.images", "need.vram_mib"} < set(keys)


def test_a_new_profile_has_what_it_needs() -> None:
    keys = new_profile("mine", Engine.VLLM, {"model": "org/name", "context": 4096, "title": None}, target="local")
    assert keys["title"] == keys["served_name"] == "mine"
    assert (keys["engine"], keys["target"], keys["port"]) == ("vllm", "local", 8000)
    assert (keys["model"], keys["context"]) == ("org/name", 4096)


@pytest.mark.parametrize(
    ("before", "edits", "more"),
    [
        (USUAL, ["engine=vllm"], {"executable": EXECUTABLES[Engine.VLLM], "port": 8000}),
        (USUAL, ["engine=vllm", "port=1234"], {"executable": EXECUTABLES[Engine.VLLM], "port": 1234}),
        (USUAL, ["engine=llama-server"], {"executable": EXECUTABLES[LLAMA], "port": 8080}),
        (USUAL, ["engine=other"], {}),
        (USUAL, ["context=512"], {"context": 512}),
        (OWN, ["engine=vllm"], {}),
    ],
)
def test_another_engine_brings_its_defaults_and_nothing_that_was_chosen_goes(
    before: Profile, edits: list[str], more: dict[str, Value]
) -> None:
    changes = parse_edits(edits)
    assert with_engine(before, changes) == {**changes, **more}

"""Settings: what a file may say, what a person may type, and how each mistake is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.settings import (
    CHOICES,
    KEYS,
    START_AT_LOGIN,
    Settings,
    allowed,
    as_table,
    decode_settings,
    parse_change,
)
from kotaro_bridge.texts import LANGUAGES

FILE = "settings.toml"


def test_an_empty_file_has_the_usual_settings() -> None:
    opened = decode_settings("", file=FILE)
    assert (opened.settings, opened.problems) == (Settings(), ())


def test_all_keys_are_read() -> None:
    opened = decode_settings('language = "ja"\ntheme = "dark"\ncheck_updates = true', file=FILE)
    assert opened.settings == Settings("ja", "dark", True)
    assert opened.problems == ()
    assert tuple(as_table(opened.settings)) == KEYS


def test_a_language_can_be_chosen_if_there_are_sentences_in_it() -> None:
    assert CHOICES["language"] == ("", *LANGUAGES)


def test_text_that_is_no_toml_says_where() -> None:
    with pytest.raises(ProblemError) as caught:
        decode_settings("theme = dark", file=FILE)
    assert caught.value.problem.code == "settings.broken"
    assert "line 1" in str(caught.value.problem.params["detail"])


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('theme = "pink"', "pink"),
        ("theme = 3", "3"),
        ("theme = true", "true"),
        ("theme = []", "[]"),
        ('theme = "Dark"', "Dark"),
    ],
)
def test_a_wrong_value_counts_as_not_written_and_the_others_count(line: str, value: str) -> None:
    opened = decode_settings(f'language = "ja"\n{line}', file=FILE)
    assert opened.settings == Settings(language="ja")
    (told,) = opened.problems
    assert told.code == "settings.bad_value"
    assert told.params == {"file": FILE, "key": "theme", "value": value, "allowed": "system, light, dark"}


@pytest.mark.parametrize("value", ["1", '"true"', "0.0", "{}"])
def test_a_switch_is_true_or_false(value: str) -> None:
    opened = decode_settings(f"check_updates = {value}", file=FILE)
    assert opened.settings.check_updates is False
    assert [told.code for told in opened.problems] == ["settings.bad_value"]


def test_a_key_that_is_none_is_told_with_the_one_that_was_meant() -> None:
    opened = decode_settings('langage = "ja"\nzzz = 1', file=FILE)
    assert opened.settings == Settings()
    assert [(told.code, told.params["near"]) for told in opened.problems] == [
        ("settings.unknown_key", "language"),
        ("settings.unknown_key", "-"),
    ]


def test_the_start_at_login_is_no_key_of_the_file() -> None:
    """The registry is the truth: a second place would say something else one day."""
    opened = decode_settings(f"{START_AT_LOGIN} = true", file=FILE)
    assert [told.code for told in opened.problems] == ["settings.unknown_key"]


@pytest.mark.parametrize(
    ("word", "change"),
    [
        ("language=ja", ("language", "ja")),
        ("language=system", ("language", "")),
        ("language=", ("language", "")),
        (" theme = DARK ", ("theme", "dark")),
        ("check_updates=on", ("check_updates", True)),
        ("check_updates=False", ("check_updates", False)),
        ("start_at_login=yes", ("start_at_login", True)),
        ("start_at_login=0", ("start_at_login", False)),
    ],
)
def test_what_a_person_types(word: str, change: tuple[str, object]) -> None:
    assert parse_change(word) == change


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("langage=ja", "settings.unknown_name"),
        ("=ja", "settings.unknown_name"),
        ("", "settings.unknown_name"),
        ("language", "settings.no_value"),
        ("language=fr", "settings.bad_word"),
        ("theme=dark=light", "settings.bad_word"),
        ("check_updates=", "settings.bad_word"),
        ("check_updates=maybe", "settings.bad_word"),
    ],
)
def test_what_a_person_mistypes(word: str, code: str) -> None:
    with pytest.raises(ProblemError) as caught:
        parse_change(word)
    assert caught.value.problem.code == code


@given(st.sampled_from([*KEYS, START_AT_LOGIN]))
def test_every_word_that_is_offered_is_taken(key: str) -> None:
    for word in allowed(key).split(", "):
        assert parse_change(f"{key}={word}")[0] == key

"""Editing a .wslconfig: staging, both views in step, what is asked before a save, and changes from outside."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.units import GIB
from kotaro_bridge.domain.wsl.wslconfig_document import Caveat
from kotaro_bridge.domain.wsl.wslconfig_findings import Advice
from kotaro_bridge.domain.wsl.wslconfig_keys import KEY_TYPES
from kotaro_bridge.domain.wsl.wslconfig_merge import KeyConflict
from kotaro_bridge.domain.wsl.wslconfig_recommend import HostFacts
from kotaro_bridge.domain.wsl.wslconfig_values import Value
from kotaro_bridge.service.wslconfig_edit import Change, Clash, Editor, Saved
from tests.helpers.memory_store import MemoryStore
from tests.helpers.wslconfig_files import edits, texts

USUAL = b"[wsl2]\nmemory=8GB # half\nprocessors=4\n"
PC = HostFacts(32 * GIB, 16)


def refused(editor: Editor, *, anyway: bool = False) -> str:
    """The code that a save is refused with."""
    with pytest.raises(ProblemError) as caught:
        editor.save(anyway=anyway)
    return caught.value.problem.code


def clash_of(editor: Editor) -> Clash:
    """The clash that a save ends in."""
    done = editor.save()
    assert isinstance(done, Clash)
    return done


def test_no_file_is_an_empty_one() -> None:
    store = MemoryStore()
    editor = Editor(store)
    assert (editor.name, editor.exists, editor.text, editor.dirty) == ("F", False, "", False)
    assert editor.save() == Saved(False, ())
    assert store.writes == 0
    editor.set("wsl2.memory", "24GB")
    assert editor.save() == Saved(True, (Change("wsl2.memory", None, 24 * GIB),))
    assert (editor.exists, store.data, store.kept) == (True, b"[wsl2]\r\nmemory=24GB\r\n", {})


def test_staging_by_key_shows_in_the_text_and_the_text_in_the_keys() -> None:
    editor = Editor(MemoryStore(USUAL), PC)
    editor.set("wsl2.memory", "24GB")
    assert editor.text == "[wsl2]\nmemory=24GB # half\nprocessors=4\n"
    editor.set_text(editor.text.replace("4\n", "6\n") + "swap=0\n")
    assert (editor.field("wsl2.processors").value, editor.field("wsl2.processors").saved) == (6, 4)
    editor.reset("wsl2.memory")
    assert editor.text == "[wsl2]\nprocessors=6\nswap=0\n"
    assert editor.changes() == (
        Change("wsl2.processors", 4, 6),
        Change("wsl2.swap", None, 0),
        Change("wsl2.memory", 8 * GIB, None),
    )
    editor.discard()
    assert (editor.dirty, editor.text) == (False, USUAL.decode())


def test_a_value_that_is_there_already_leaves_the_stage() -> None:
    editor = Editor(MemoryStore(USUAL))
    editor.set("wsl2.swap", "0")
    editor.set("wsl2.memory", "24GB")
    editor.set("wsl2.memory", "8192MB")
    assert editor.changes() == (Change("wsl2.swap", None, 0),)
    editor.set("wsl2.swap", "")
    assert (editor.dirty, editor.text) == (False, USUAL.decode())


def test_what_wsl_would_not_take_is_not_staged() -> None:
    editor = Editor(MemoryStore(USUAL))
    with pytest.raises(ProblemError):
        editor.set("wsl2.memory", "24gb")
    assert not editor.dirty


def test_fields_have_what_a_form_shows() -> None:
    editor = Editor(MemoryStore(b"[wsl2]\nmemory=40GB\n"), PC)
    fields = editor.fields()
    assert sorted(field.key for field in fields) == sorted(KEY_TYPES)
    memory = fields[0]
    assert (memory.key, memory.main, memory.by_policy) == ("wsl2.memory", True, False)
    assert (memory.value, memory.saved, memory.default) == (40 * GIB, 40 * GIB, 16 * GIB)
    assert memory.recommended is not None
    assert memory.recommended.value == 24 * GIB
    assert [finding.code for finding in memory.findings] == [Advice.MEMORY_ABOVE_HOST]
    assert editor.findings_at(2) == memory.findings
    assert editor.findings_at(1) == ()
    assert editor.field("wsl2.kernel").by_policy
    editor.stage({"wsl2.memory": 24 * GIB})
    assert editor.field("wsl2.memory").findings == ()
    assert editor.lint() is editor.lint()


def test_the_diff() -> None:
    editor = Editor(MemoryStore(b"[wsl2]\r\nmemory=8GB"))
    assert editor.diff() == ()
    editor.set("wsl2.swap", "0")
    assert editor.diff() == (
        "--- F",
        "+++ F",
        "@@ -1,2 +1,3 @@",
        " [wsl2]",
        "-memory=8GB",
        "\\ No newline at end of file",
        "+memory=8GB",
        "+swap=0",
        "\\ No newline at end of file",
    )


@pytest.mark.parametrize(
    ("data", "caveat"),
    [
        ("[wsl2]\nswap=1\n".encode("utf-16"), Caveat.UTF16),
        ("[wsl2]\n# メモリ\nswap=1\n".encode("cp932"), Caveat.NOT_UTF8),
        (b"[wsl2]\nswap=1\n#\0\n", Caveat.NUL),
        (b"[wsl2]\nswap=1\n\x1aold\n", Caveat.CONTROL_Z),
    ],
)
def test_a_strange_file_is_written_only_with_the_owners_word(data: bytes, caveat: Caveat) -> None:
    store = MemoryStore(data)
    editor = Editor(store)
    assert editor.save() == Saved(False, ())
    editor.set("wsl2.swap", "0")
    assert editor.caveats == (caveat,)
    assert refused(editor) == f"wslconfig.caveat.{caveat}"
    assert (store.data, editor.dirty) == (data, True)
    assert editor.save(anyway=True) == Saved(True, (Change("wsl2.swap", 1, 0),))
    assert Editor(store).document.config.values == {"wsl2.swap": 0}


def test_a_file_that_wsl_cannot_read_has_to_be_converted() -> None:
    store = MemoryStore("[wsl2]\nswap=1\n".encode("utf-16-le"))
    editor = Editor(store)
    editor.set("wsl2.swap", "0")
    assert refused(editor, anyway=True) == "wslconfig.caveat.utf16_unread"
    editor.discard()
    assert editor.convert()
    assert editor.caveats == ()
    editor.set("wsl2.swap", "0")
    editor.save()
    assert store.data == b"[wsl2]\nswap=0\n"
    assert editor.convert()
    assert not editor.dirty
    junk = Editor(MemoryStore(b"\x81\n"))
    assert not junk.convert()
    assert not junk.dirty


def test_a_key_goes_back_to_what_is_on_disk() -> None:
    editor = Editor(MemoryStore(b"[wsl2]\nmemory=8gb\nswap=1\n"))
    for key in ("wsl2.memory", "wsl2.swap"):
        editor.set(key, "4GB")
        editor.undo(key)
    assert not editor.dirty
    editor.set_text("[wsl2]\nswap=2\n")
    editor.undo("wsl2.swap")
    assert editor.text == "[wsl2]\nswap=1\n"


def test_restoring_a_backup() -> None:
    store = MemoryStore("[wsl2]\nswap=1\n".encode("utf-16"))
    editor = Editor(store)
    original = store.data
    editor.convert()
    editor.save()
    assert [backup.id for backup in editor.backups()] == ["0"]
    assert editor.stored("0").data == original
    editor.restore("0")
    assert editor.save() == Saved(True, ())
    assert store.data == original
    with pytest.raises(ProblemError):
        editor.restore("9")


def test_a_change_outside_is_merged_where_it_touches_other_keys() -> None:
    store = MemoryStore(USUAL)
    editor = Editor(store)
    editor.set("wsl2.memory", "24GB")
    store.data = USUAL.replace(b"processors=4", b"processors=6") + b"# theirs\n"
    assert editor.refresh() is None
    assert editor.saved.config.values["wsl2.processors"] == 6
    assert editor.save() == Saved(True, (Change("wsl2.memory", 8 * GIB, 24 * GIB),))
    assert store.data == b"[wsl2]\nmemory=24GB # half\nprocessors=6\n# theirs\n"


def test_raw_edits_that_are_edits_of_keys_are_merged_too() -> None:
    store = MemoryStore(USUAL)
    editor = Editor(store)
    editor.set_text(editor.text.replace("8GB", "24GB"))
    store.data = USUAL + b"swap=0\n"
    assert isinstance(editor.save(), Saved)
    assert store.data == b"[wsl2]\nmemory=24GB # half\nprocessors=4\nswap=0\n"


def test_the_same_change_outside_is_no_clash() -> None:
    store = MemoryStore(USUAL)
    editor = Editor(store)
    editor.set_text(USUAL.decode() + "# both\n")
    store.data = USUAL + b"# both\n"
    assert editor.save() == Saved(False, ())
    assert not editor.dirty


def test_a_file_that_goes_away_is_made_anew() -> None:
    store = MemoryStore(USUAL)
    editor = Editor(store)
    editor.set("wsl2.swap", "0")
    store.data = None
    assert isinstance(editor.save(), Saved)
    assert store.data == b"[wsl2]\r\nswap=0\r\n"


@pytest.mark.parametrize(("mine", "memory"), [((), 12), (("wsl2.memory",), 24)])
def test_a_clash_of_keys_is_decided_by_the_owner(mine: tuple[str, ...], memory: int) -> None:
    store = MemoryStore(USUAL)
    editor = Editor(store)
    editor.set("wsl2.memory", "24GB")
    editor.set("wsl2.swap", "0")
    store.data = theirs = USUAL.replace(b"8GB", b"12GB")
    clash = clash_of(editor)
    assert clash.keys == (KeyConflict("wsl2.memory", 8 * GIB, 24 * GIB, 12 * GIB),)
    assert (clash.theirs.data, store.data, store.writes) == (theirs, theirs, 0)
    editor.resolve(clash, mine)
    assert isinstance(editor.save(), Saved)
    assert editor.document.config.values == {"wsl2.memory": memory * GIB, "wsl2.processors": 4, "wsl2.swap": 0}


@pytest.mark.parametrize(("my_text", "expected"), [(False, USUAL + b"# theirs\n"), (True, USUAL + b"# mine\n")])
def test_a_clash_of_texts_is_decided_by_the_owner(my_text: bool, expected: bytes) -> None:
    store = MemoryStore(USUAL)
    editor = Editor(store)
    editor.set_text(editor.text + "# mine\n")
    store.data = USUAL + b"# theirs\n"
    clash = clash_of(editor)
    assert clash.keys == ()
    editor.resolve(clash, my_text=my_text)
    assert isinstance(editor.save(), Saved)
    assert store.data == expected


def test_a_change_in_the_last_moment_is_seen() -> None:
    store = MemoryStore(USUAL)
    editor = Editor(store)
    editor.set("wsl2.memory", "24GB")

    def change_once() -> None:
        store.data = USUAL + b"swap=0\n"
        store.before_replace = lambda: None

    store.before_replace = change_once
    assert isinstance(editor.save(), Saved)
    assert store.data == b"[wsl2]\nmemory=24GB # half\nprocessors=4\nswap=0\n"


def test_a_file_that_changes_all_the_time_is_given_up() -> None:
    store = MemoryStore(USUAL)
    editor = Editor(store)
    editor.set("wsl2.memory", "24GB")

    def change() -> None:
        store.data = (store.data or b"") + b"#\n"

    store.before_replace = change
    assert refused(editor) == "wslconfig.busy"
    assert store.writes == 0


@given(texts, st.lists(edits, max_size=4), st.lists(edits, max_size=4))
def test_two_editors_lose_nothing_silently(
    text: str, ours: list[tuple[str, Value | None]], others: list[tuple[str, Value | None]]
) -> None:
    store = MemoryStore(text.encode())
    editor, other = Editor(store), Editor(store)
    editor.stage(dict(ours))
    other.stage(dict(others))
    wanted = {change.key: change.after for change in (*other.changes(), *editor.changes())}
    both = {change.key for change in other.changes()} & {change.key for change in editor.changes()}
    assert isinstance(other.save(anyway=True), Saved)
    theirs = store.data
    done = editor.save(anyway=True)
    if isinstance(done, Clash):
        assert store.data == theirs
        assert {conflict.key for conflict in done.keys} & both
    else:
        after = Editor(store).document.reading.beyond
        assert {key: after.get(key) for key in wanted} == wanted

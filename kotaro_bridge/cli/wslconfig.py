"""The command `wslconfig`: what WSL makes of a .wslconfig, and edits of it that do no harm.

Without FILE all of it is about the file of this user (`%UserProfile%\\.wslconfig`), in a simulated PC about that PC's.
The JSON form of `lint` is fixed (architecture, command line).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from kotaro_bridge.app.this_pc import setting_for, wslconfig_editor
from kotaro_bridge.cli.print import explain, print_json
from kotaro_bridge.cli.session import Json, session
from kotaro_bridge.cli.wslconfig_restart import proof, restart
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.wsl.wslconfig_document import Document
from kotaro_bridge.domain.wsl.wslconfig_findings import Weight, in_words
from kotaro_bridge.domain.wsl.wslconfig_values import Value, format_value, named_key
from kotaro_bridge.service.wslconfig_edit import (
    Change,
    Clash,
    Editor,
    Field,
    Saved,
    changes_between,
    unified_diff,
)

wslconfig_cli = typer.Typer(no_args_is_help=True, help="The settings of WSL 2 (.wslconfig).")

wslconfig_cli.command("restart")(restart)
wslconfig_cli.command("proof")(proof)

_MOST_TOLD = 50
"""Of each message of WSL so many are printed; a terminal has no use for a hundred thousand. JSON has them all."""
_EDIT = re.compile(r"([A-Za-z][A-Za-z0-9.]*)=(.*)", re.DOTALL)
File = Annotated[str | None, typer.Argument(metavar="[FILE]", help="A .wslconfig; this user's own without it.")]
Words = Annotated[list[str] | None, typer.Argument(metavar="[FILE] KEY=VALUE...", help="KEY= resets a key.")]
Convert = Annotated[bool, typer.Option("--convert", help="Write a file in another encoding as UTF-8.")]
Anyway = Annotated[bool, typer.Option("--anyway", help="Edit a file that holds what does not belong into it.")]


@contextmanager
def _editor(file: str | None, *, must_exist: bool = False) -> Iterator[Editor]:
    """An editor of the file that the command names. Raises ProblemError."""
    setting = setting_for(session.scenario)
    try:
        editor = wslconfig_editor(setting, file)
        if must_exist and file is not None and not editor.exists:
            raise ProblemError(problem("wslconfig.no_file", path=file))
        yield editor
    finally:
        setting.close()


@wslconfig_cli.command("lint")
def lint(file: File = None, as_json: Json = False) -> None:
    """What WSL will say of the file, and our advice. Exit code 1 if WSL would warn."""
    with _editor(file, must_exist=True) as editor:
        found = editor.lint()
    texts = session.texts
    advice = [(each, texts.message(each.message)) for each in found.advice]
    if as_json:
        print_json(
            {
                "values": {key: _plain(value) for key, value in found.values.items()},
                "wsl_warnings": [list(warning) for warning in found.wsl_warnings],
                "advice": [
                    {"code": each.code.value, "line": each.line, "text": f"{message.what} {message.do}".strip()}
                    for each, message in advice
                ],
            }
        )
    told: Counter[str] = Counter()
    for warning in found.wsl_warnings:
        told[warning[0]] += 1
        if told[warning[0]] <= _MOST_TOLD:
            typer.echo(texts.text("cli.wslconfig.wsl_says", text=texts.message(in_words(warning)).what), err=True)
    if more := sum(count - _MOST_TOLD for count in told.values() if count > _MOST_TOLD):
        typer.echo(texts.text("cli.wslconfig.more", count=more), err=True)
    for each, message in [] if as_json else advice:
        typer.echo(texts.text("cli.wslconfig.line", line=each.line, text=message.what) if each.line else message.what)
        typer.echo(f"    {message.do}")
    if not as_json and not found.wsl_warnings and not advice:
        typer.echo(texts.text("cli.wslconfig.clean" if editor.exists else "cli.wslconfig.no_file", path=editor.name))
    raise typer.Exit(1 if found.wsl_warnings else 0)


@wslconfig_cli.command("show")
def show(
    file: File = None,
    every: Annotated[
        bool, typer.Option("--all", help="All settings, not the main ones and those of the file.")
    ] = False,
    as_json: Json = False,
) -> None:
    """The settings: what the file says, what WSL takes without it, and what we would choose on this PC."""
    with _editor(file, must_exist=True) as editor:
        fields, document, exists = editor.fields(), editor.document, editor.exists
    if as_json:
        settings = [_setting_document(field) for field in fields]
        print_json({"file": document.file, "exists": exists, "encoding": document.encoding, "settings": settings})
        return
    texts = session.texts
    typer.echo(document.file if exists else texts.text("cli.wslconfig.no_file", path=document.file))
    for field in fields:
        if every or field.main or field.value is not None:
            _print_field(field)


def _setting_document(field: Field) -> dict[str, Any]:
    choice = field.recommended
    return {
        "key": field.key,
        "type": field.kind.value,
        "value": _plain(field.value),
        "default": _plain(field.default),
        "recommended": None if choice is None else _plain(choice.value),
        "reason": None if choice is None else session.texts.message(choice.reason).what,
        "main": field.main,
    }


def _print_field(field: Field) -> None:
    text, name = session.texts.text, field.key.partition(".")[2]
    default = text(f"wslconfig.key.{name}.default")
    typer.echo(f"\n{field.key} = {_shown(field.key, field.value)}")
    typer.echo(f"    {text(f'wslconfig.key.{name}.what')}")
    typer.echo(f"    {text('cli.wslconfig.default', default=default)}")
    if field.recommended is not None:
        value, reason = field.recommended.value, session.texts.message(field.recommended.reason).what
        typer.echo(f"    {text('cli.wslconfig.recommended', value=_shown(field.key, value), reason=reason)}")


@wslconfig_cli.command("set")
def set_(words: Words = None, convert: Convert = False, anyway: Anyway = False, as_json: Json = False) -> None:
    """Set keys, with a backup of the file; all of them or none. KEY may leave its section out."""
    file, edits = _split(words or [], wanted=not convert)
    with _editor(file) as editor:
        _stage(editor, edits, convert)
        diff, changed = editor.diff(), [editor.field(key) for key in edits]
        _save(editor, diff, file, anyway=anyway, as_json=as_json)
    for field in changed:
        for finding in field.findings:
            if finding.weight is not Weight.HINT:
                explain(session.texts, finding.message)


@wslconfig_cli.command("diff")
def diff(words: Words = None, convert: Convert = False, as_json: Json = False) -> None:
    """What `set` with the same words would change. Without KEY=VALUE: what changed since the newest backup."""
    file, edits = _split(words or [], wanted=False)
    with _editor(file, must_exist=True) as editor:
        if edits or convert:
            _stage(editor, edits, convert)
            changes, lines, against = editor.changes(), editor.diff(), None
        else:
            against, old = _newest_backup(editor)
            changes, lines = changes_between(old, editor.saved), unified_diff(old, editor.saved)
    if as_json:
        document = {"file": editor.name, "backup": against, "changes": _changes(changes), "diff": list(lines)}
        print_json(document)
    else:
        typer.echo("\n".join(lines) if lines else session.texts.text("cli.wslconfig.same"))


@wslconfig_cli.command("restore")
def restore(
    file: File = None,
    backup: Annotated[str | None, typer.Option(help="Id of the backup; the newest one without it.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the backups and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Put a backup in the place of the file, which gets a backup itself."""
    with _editor(file) as editor:
        if listed:
            _list_backups(editor, as_json)
            return
        editor.restore(backup if backup is not None else _newest_backup(editor)[0])
        _save(editor, editor.diff(), file, anyway=True, as_json=as_json)


def _list_backups(editor: Editor, as_json: bool) -> None:
    found = editor.backups()
    if as_json:
        rows = [{"id": each.id, "saved_at": each.saved_at.isoformat(), "size": each.size_bytes} for each in found]
        print_json({"file": editor.name, "backups": rows})
        return
    for each in found:
        typer.echo(f"{each.id}  {each.saved_at.astimezone():%Y-%m-%d %H:%M:%S}  {each.size_bytes:>8}")
    if not found:
        typer.echo(session.texts.text("cli.wslconfig.no_backups", path=editor.name))


def _newest_backup(editor: Editor) -> tuple[str, Document]:
    """Raises ProblemError if there is none."""
    found = editor.backups()
    if not found:
        raise ProblemError(problem("wslconfig.no_backups", path=editor.name))
    return found[0].id, editor.stored(found[0].id)


def _split(words: list[str], *, wanted: bool) -> tuple[str | None, dict[str, str]]:
    """(file, edits by canonical name). Raises BadParameter for other words, ProblemError for unknown keys."""
    file = None
    if words and (_EDIT.fullmatch(words[0]) is None or Path(words[0]).is_file()):
        file, *words = words
    edits: dict[str, str] = {}
    for word in words:
        found = _EDIT.fullmatch(word)
        if found is None:
            raise typer.BadParameter(f"{word!r} is not of the form KEY=VALUE.")
        edits[named_key(found[1])] = found[2]
    if wanted and not edits:
        raise typer.BadParameter("at least one KEY=VALUE is needed.")
    return file, edits


def _stage(editor: Editor, edits: dict[str, str], convert: bool) -> None:
    if convert and not editor.convert():
        raise ProblemError(problem("wslconfig.not_converted", path=editor.name))
    for key, text in edits.items():
        editor.set(key, text)


def _save(editor: Editor, diff: tuple[str, ...], file: str | None, *, anyway: bool, as_json: bool) -> None:
    """Save and say what was done: of this user's own file (None) also when it counts. Raises ProblemError."""
    done = editor.save(anyway=anyway)
    if isinstance(done, Clash):
        raise ProblemError(problem("wslconfig.changed_outside", path=editor.name))
    if as_json:
        print_json(_saved_document(editor, done, diff))
        return
    texts = session.texts
    typer.echo("\n".join(diff) if done.written else texts.text("cli.wslconfig.same"))
    if done.written:
        typer.echo(texts.text("cli.wslconfig.saved", path=editor.name), err=True)
        if file is None:
            typer.echo(texts.text("cli.wslconfig.counts"), err=True)


def _saved_document(editor: Editor, done: Saved, diff: tuple[str, ...]) -> dict[str, Any]:
    return {"file": editor.name, "written": done.written, "changes": _changes(done.changes), "diff": list(diff)}


def _changes(changes: tuple[Change, ...]) -> list[dict[str, Any]]:
    return [{"key": each.key, "before": _plain(each.before), "after": _plain(each.after)} for each in changes]


def _plain(value: Value | None) -> bool | int | str | list[int] | None:
    """A value as JSON has it."""
    return list(value) if isinstance(value, tuple) else value


def _shown(key: str, value: Value | None) -> str:
    """A value for people: strings as they are meant, without the escapes of the file."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else format_value(key, value)

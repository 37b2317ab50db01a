"""The commands `profiles ...`: what there is, and profiles of one's own: made, edited, copied, handed on, taken over.

An import is somebody else's: it names a program that will be run, which is shown and asked about, and no argument
passes that is not on the whitelist. Nothing is overwritten unless that is asked for.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from kotaro_bridge.cli.print import explain, print_json
from kotaro_bridge.cli.session import Json, agree, product, raise_if_error, session
from kotaro_bridge.domain.engine.arguments import checked_extra_args
from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.profile import Profile, decode_profile
from kotaro_bridge.domain.profile_edit import Changes, Value, new_profile, parse_edits, with_engine
from kotaro_bridge.domain.run.run_state import RESTING, Phase
from kotaro_bridge.host.control import ask
from kotaro_bridge.host.profile_store import ProfileFolder, load_profiles, new_text

profiles_cli = typer.Typer(no_args_is_help=True, help="The profiles that can be started, and your own.")

_MOST_BYTES = 1 << 16
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a profile.")]
NewId = Annotated[str, typer.Argument(metavar="ID", help="Id of the new profile: a-z, 0-9, dot, dash, underscore.")]
Replace = Annotated[bool, typer.Option("--replace", help="Also over one that is there.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@profiles_cli.command("list")
def profiles_list(as_json: Json = False) -> None:
    """All profiles. Broken files are named on stderr; exit code 1 if there are any."""
    with product() as made:
        found, broken = made.supervisor.profiles(), made.supervisor.profile_problems()
    if as_json:
        keys = ("id", "title", "engine", "target", "model", "context", "port", "builtin")
        print_json({"profiles": [{key: getattr(p, key) for key in keys} for p in found]})
    else:
        for p in found:
            typer.echo(f"{p.id:24} {p.engine.value:13} {p.title}")
    for one in broken:
        explain(session.texts, one)
    raise typer.Exit(1 if broken else 0)


@profiles_cli.command("show")
def profiles_show(profile: Id, as_json: Json = False) -> None:
    """One profile with the command that it runs."""
    with product() as made:
        found = made.supervisor.profile(profile)
    document = _document(found)
    if as_json:
        print_json(document)
        return
    for key, value in document.items():
        typer.echo(f"{key:12} {' '.join(value) if key == 'command' else value}")


@profiles_cli.command("new")
def profiles_new(
    profile: NewId,
    engine: Annotated[Engine | None, typer.Option(help="llama-server or vllm.")] = None,
    model: Annotated[str, typer.Option(help="File or folder inside the target; vLLM: or an id of Hugging Face.")] = "",
    context: Annotated[int | None, typer.Option(min=1, help="Tokens that one request may hold.")] = None,
    source: Annotated[str | None, typer.Option("--from", help="A name that `models list` shows.")] = None,
    edits: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other key, as `edit` takes it.")
    ] = None,
    replace: Replace = False,
    as_json: Json = False,
) -> None:
    """A profile of your own, from a model or from the catalogue."""
    given: dict[str, Value] = _from_catalogue(source) if source else {}
    if engine is not None and given.setdefault("engine", engine.value) != engine.value:
        raise typer.BadParameter(f"{source} is a model for {given['engine']}.")
    given |= {"model": model} if model else {}
    given |= {"context": context} if context is not None else {}
    given |= {key: value for key, value in _parsed(edits or []).items() if value is not None}
    if not {"engine", "model", "context"} <= given.keys():
        raise typer.BadParameter("--engine, --model and --context are needed, or --from.")
    target = "wsl:" if sys.platform == "win32" or session.scenario else "local"
    text = new_text(new_profile(profile, Engine(str(given["engine"])), given, target=target))
    _save(profile, text, replace=replace, as_json=as_json, said="cli.profiles.created")


def _from_catalogue(name: str) -> dict[str, Value]:
    """What the catalogue says of a model, as keys. Raises ProblemError `profile.not_in_catalogue`."""
    from kotaro_bridge.domain.profile_form import keys_of_entry
    from kotaro_bridge.host.catalogue_store import load_catalogue

    entries = {entry.id: entry for entry in load_catalogue()}
    entry = entries.get(name.lower())
    if entry is None:
        raise ProblemError(problem("profile.not_in_catalogue", name=name, known=", ".join(entries)))
    return keys_of_entry(entry)


@profiles_cli.command("edit")
def profiles_edit(
    profile: Id,
    edits: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="`KEY=` goes back to the default.")],
    as_json: Json = False,
) -> None:
    """Change keys of a profile; comments and everything else in its file stay. Of a built-in one a copy is made."""
    changes = _parsed(edits)
    folder = _folder_with(profile)
    before, own = _as_it_was(folder, profile), folder.is_own(profile)
    if before is not None:
        changes = with_engine(before, changes)
    _checked(folder.changed_text(profile, changes), profile, file=str(folder.file(profile)))
    after = _plain(folder.change(profile, changes))
    _tell_owner("reload", profile)
    if as_json:
        old = {} if before is None else _plain(before) | {"builtin": False}
        changed = {key: [old.get(key), value] for key, value in after.items() if old.get(key) != value}
        print_json({"profile": profile, "file": str(folder.file(profile)), "changed": changed})
        return
    text = session.texts.text
    typer.echo(text("cli.profiles.changed", id=profile, file=str(folder.file(profile))))
    if not own:
        typer.echo(text("cli.profiles.copied_first", id=profile))
    if _runs(profile):
        typer.echo(text("cli.profiles.runs_on", id=profile))


@profiles_cli.command("copy")
def profiles_copy(
    profile: Id,
    new: Annotated[str, typer.Argument(metavar="NEW", help="Id of the copy.")],
    replace: Replace = False,
    as_json: Json = False,
) -> None:
    """A profile of your own with another id and everything else as it is."""
    text = _folder_with(profile).text(profile)
    _save(new, text, replace=replace, as_json=as_json, said="cli.profiles.created")


@profiles_cli.command("export")
def profiles_export(
    profile: Id,
    file: Annotated[Path | None, typer.Argument(help="Where to; on stdout without it.")] = None,
    replace: Replace = False,
) -> None:
    """A profile as one file for another PC, with what has to be there in front."""
    folder, text = _folder_with(profile), session.texts.text
    found, content = folder.read(profile), folder.text(profile)
    needs = [("executable", found.executable), ("model", found.model), ("gpus", ", ".join(map(str, found.gpus)))]
    needs += [("projector", found.projector)] if found.projector else []
    head = [text("cli.profiles.export_head", id=profile), text("cli.profiles.export_needs")]
    head += [f"  {key}: {value}" for key, value in needs]
    document = "".join(f"# {line}\n" for line in head) + "\n" + content
    if file is None:
        typer.echo(document, nl=False)
        return
    if file.exists() and not replace:
        raise ProblemError(problem("profile.file_exists", file=str(file)))
    try:
        file.write_bytes(document.encode())
    except OSError as error:
        raise ProblemError(problem("profile.not_saved", file=str(file), detail=str(error))) from error
    typer.echo(text("cli.profiles.exported", id=profile, file=str(file)), err=True)


@profiles_cli.command("import")
def profiles_import(
    file: Annotated[Path, typer.Argument(help="A file of `profiles export`; - for stdin.")],
    profile: Annotated[str | None, typer.Option("--id", help="Another id than the file's name.")] = None,
    replace: Replace = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Take over somebody's profile, after it was checked and you have seen what it would run."""
    content = _read(file)
    wanted = profile or file.stem
    if file == Path("-") and profile is None:
        raise typer.BadParameter("--id is needed for a profile from stdin.")
    found = _checked(content, wanted, file=str(file))
    texts = session.texts
    words = {"executable": found.executable, "target": found.target, "model": found.model}
    typer.echo(texts.text("cli.profiles.runs", **words), err=True)
    if found.vllm is not None and found.vllm.trust_remote_code:
        typer.echo(texts.text("cli.profiles.runs_model_code", model=found.model), err=True)
    if not yes:
        agree("cli.profiles.import_now", problem("profile.not_asked"))
    _save(wanted, content, replace=replace, as_json=as_json, said="cli.profiles.imported")


@profiles_cli.command("remove")
def profiles_remove(profile: Id, yes: Yes = False, as_json: Json = False) -> None:
    """Delete a profile of your own. One that runs stays, and so do the built-in ones and every model file."""
    folder = ProfileFolder(session.paths.profiles)
    file = folder.file(profile)
    if not folder.is_own(profile):
        folder.remove(profile)  # says why not
    if not yes:
        typer.echo(str(file), err=True)
        agree("cli.profiles.remove_now", problem("profile.not_asked"))
    if _runs(profile):  # asked first, told after
        raise ProblemError(problem("profile.running", id=profile))
    folder.remove(profile)
    _tell_owner("forget", profile)
    if as_json:
        print_json({"profile": profile, "file": str(file)})
    else:
        typer.echo(session.texts.text("cli.profiles.removed", id=profile))


def _folder_with(profile_id: str) -> ProfileFolder:
    """The user's profiles. Raises ProblemError `profile.unknown`, `profile.id` where there is none of this id."""
    folder = ProfileFolder(session.paths.profiles)
    if not folder.has(profile_id):
        known = ", ".join(profile.id for profile in load_profiles(session.paths.profiles)[0])
        raise ProblemError(problem("profile.unknown", id=profile_id, known=known))
    return folder


def _runs(profile_id: str) -> bool:
    """True if its run does not rest; the owner of the runs knows."""
    status = ask(session.paths.state, {"verb": "status"}) or {"runs": []}
    return any(run["profile"] == profile_id and Phase(run["state"]) not in RESTING for run in status["runs"])


def _parsed(edits: list[str]) -> Changes:
    """KEY=VALUE words. Raises BadParameter for other words, ProblemError for a key or value that is none."""
    try:
        return parse_edits(edits)
    except ProblemError as error:
        if error.problem.code != "profile.edit_form":
            raise
        message = session.texts.message(error.problem)
        raise typer.BadParameter(f"{message.what} {message.do}") from None


def _as_it_was(folder: ProfileFolder, profile_id: str) -> Profile | None:
    """The profile; None for a broken file, which an edit may repair."""
    try:
        return folder.read(profile_id)
    except ProblemError:
        return None


def _read(file: Path) -> str:
    """The text of a file that may be anything. Raises ProblemError."""
    try:
        if file == Path("-"):
            data = sys.stdin.buffer.read(_MOST_BYTES + 1) if sys.stdin is not None else b""
        elif file.is_file():
            with file.open("rb") as stream:
                data = stream.read(_MOST_BYTES + 1)
        else:
            raise ProblemError(problem("profile.no_file", file=str(file)))
        if len(data) > _MOST_BYTES:
            raise ProblemError(problem("profile.too_large", file=str(file), most=_MOST_BYTES))
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError(problem("profile.unreadable", file=str(file), detail=str(error))) from error


def _checked(content: str, profile_id: str, *, file: str | None = None) -> Profile:
    """A profile that could be started as far as it says itself. Raises ProblemError."""
    found = decode_profile(content, file=file or f"{profile_id}.toml", profile_id=profile_id)
    checked_extra_args(found)
    return found


def _save(profile_id: str, content: str, *, replace: bool, as_json: bool, said: str) -> None:
    _checked(content, profile_id)
    folder = ProfileFolder(session.paths.profiles)
    saved = folder.create(profile_id, content, replace=replace)
    _tell_owner("reload", profile_id)
    if as_json:
        print_json({"profile": profile_id, "file": str(folder.file(profile_id)), **_document(saved)})
    else:
        typer.echo(session.texts.text(said, id=profile_id, file=str(folder.file(profile_id))))


def _tell_owner(verb: str, profile_id: str) -> None:
    """The application that runs, if one does, takes the change over."""
    raise_if_error(ask(session.paths.state, {"verb": verb, "profile": profile_id}) or {})


def _plain(profile: Profile) -> dict[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(profile)
    return found


def _document(profile: Profile) -> dict[str, Any]:
    """A profile with its command, as JSON."""
    from kotaro_bridge.domain.engine.command import build_command

    command = build_command(profile)
    return {**_plain(profile), "command": list(command.argv), "environment": dict(command.env)}

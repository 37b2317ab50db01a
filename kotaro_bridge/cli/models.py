"""The commands `models ...`: the model files on the machine, downloads, Ollama's models, the hub's token.

A download belongs to the command that runs it: Ctrl-C pauses it, and the same command goes on from what is there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from kotaro_bridge.cli.catalogue import models_advise, models_list, models_show
from kotaro_bridge.cli.print import columns, explain, print_json
from kotaro_bridge.cli.session import Json, agree, has_person, interrupted, product, session
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.download import RESTING, DownloadRequest, DownloadState, DownloadView
from kotaro_bridge.domain.model.model_files import Condition, StoredModel
from kotaro_bridge.domain.units import format_size
from kotaro_bridge.service.bus import Message
from kotaro_bridge.service.model_shelf import MODELS, OnMachine
from kotaro_bridge.service.owner_desk import problem_document

models_cli = typer.Typer(no_args_is_help=True, help="Models: what fits, what is on the machine, downloads.")
token_cli = typer.Typer(no_args_is_help=True, help="The Hugging Face token, in the keyring of this system.")
models_cli.add_typer(token_cli, name="token")
models_cli.command("list")(models_list)
models_cli.command("show")(models_show)
models_cli.command("advise")(models_advise)

Target = Annotated[str | None, typer.Option(help="wsl:NAME of a distro, or local; the default distro without it.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_PAUSED = 130
"""Exit code of a shell for what Ctrl-C ended; here the download waits for the same command."""


@models_cli.command("files")
def files(
    start: Annotated[
        bool, typer.Option("--start", help="Look into the default distro even if that starts it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """The model files on the machine: Hugging Face cache and folders of each distro that runs, LM Studio, Ollama."""
    with product() as made:
        found = made.models.stock.shelf.files(start=start)
    if as_json:
        print_json(files_document(found))
    else:
        _print_files(found)
    for one in found.problems:
        explain(session.texts, one)
    raise typer.Exit(1 if found.problems else 0)


def files_document(found: OnMachine) -> dict[str, Any]:
    """What is on the machine, as JSON; sizes in bytes."""
    return {
        "models": [
            {
                "id": model.id,
                "place": model.place.value,
                "target": model.target,
                "path": model.path,
                "format": model.format,
                "size": model.bytes,
                "unfinished": model.unfinished_bytes,
                "condition": model.condition.value,
                "revisions": list(model.revisions),
                "projectors": list(model.projectors),
                "profiles": list(model.used_by),
                "removable": model.removable,
            }
            for model in found.models
        ],
        "not_running": list(found.not_running),
        "problems": [problem_document(one) for one in found.problems],
    }


def _print_files(found: OnMachine) -> None:
    text = session.texts.text
    shown: str | None = None
    for model in found.models:
        where = f"{model.target}  {text(f'models.place.{model.place.value}')}"
        if where != shown:
            typer.echo(f"{'' if shown is None else chr(10)}{where}")
            shown = where
        typer.echo(f"  {format_size(model.bytes):>10}  {model.id}{_remarks(model)}")
    if not found.models:
        typer.echo(text("cli.models.none"))
    for name in found.not_running:
        typer.echo(text("cli.models.not_running", name=name), err=True)


def _remarks(model: StoredModel) -> str:
    text, words = session.texts.text, []
    if model.condition is not Condition.WHOLE:
        words.append(text(f"models.condition.{model.condition.value}"))
    elif model.unfinished_bytes:
        words.append(text("models.unfinished", size=format_size(model.unfinished_bytes)))
    words += [text("models.used_by", profiles=", ".join(model.used_by))] if model.used_by else []
    return f"  ({'; '.join(words)})" if words else ""


@models_cli.command("download")
def download(
    model: Annotated[str, typer.Argument(metavar="ID", help="ORG/NAME on the Hugging Face hub.")],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE]...", help="Files or patterns such as '*q4_k_m*.gguf'.")
    ] = None,
    to: Annotated[str, typer.Option(help="Folder inside the target; ~/models/NAME without it.")] = "",
    target: Target = None,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit.")] = "",
    as_json: Json = False,
) -> None:
    """Download a model into the distro. Ctrl-C pauses; the same command goes on. Exit code 130 when paused."""
    with product() as made:
        request = DownloadRequest(model, target or made.models.default_target, tuple(names or ()), to, revision)
        line = _Line(session.texts.text, silent=as_json)
        made.bus.subscribe(line)
        name = made.models.stock.downloads.start(request)
        with interrupted(lambda: made.models.stock.downloads.pause(name)):
            while (view := made.models.stock.downloads.wait(name, 0.5)).state not in RESTING:
                pass  # a bare wait would keep Ctrl-C from being seen on Windows
        line.end()
    if as_json:
        print_json(download_document(view))
    if view.problem is not None:
        raise ProblemError(view.problem)
    if view.state is DownloadState.PAUSED:
        typer.echo(session.texts.text("cli.models.paused", size=format_size(view.bytes)), err=True)
        raise typer.Exit(_PAUSED)
    if not as_json:
        typer.echo(session.texts.text("cli.models.downloaded", folder=view.folder))


def download_document(view: DownloadView) -> dict[str, Any]:
    """A download as JSON; sizes in bytes, `speed` in bytes per second, `eta` in seconds."""
    return {
        "id": view.request.repo,
        "target": view.request.target,
        "folder": view.folder,
        "state": view.state.value,
        "bytes": view.bytes,
        "total": view.total,
        "speed": view.speed,
        "eta": view.eta,
        "file": view.file,
        "problem": problem_document(view.problem) if view.problem else None,
    }


class _Line:
    """One line on stderr that tells how far it is; on a terminal it is written over, elsewhere new states get lines."""

    def __init__(self, text: Callable[..., str], *, silent: bool) -> None:
        self._text = text
        self._silent = silent
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._width = 0
        self._state: tuple[DownloadState, str] | None = None

    def __call__(self, message: Message) -> None:
        if isinstance(message, DownloadView) and message.state not in RESTING:
            self.show(download_line(self._text, message), (message.state, message.file))

    def show(self, words: str, state: tuple[DownloadState, str]) -> None:
        if self._silent or (not self._terminal and state == self._state):
            return
        self._state = state
        if self._terminal:
            shown = columns(words)
            typer.echo("\r" + words + " " * (self._width - shown), nl=False, err=True)
            self._width = shown
        else:
            typer.echo(words, err=True)

    def end(self) -> None:
        """Leave the line."""
        if self._width:
            typer.echo("", err=True)
            self._width = 0


def download_line(text: Callable[..., str], view: DownloadView) -> str:
    """A download in one line."""
    words = [text(f"download.state.{view.state.value}")]
    if view.total:
        words.append(f"{view.bytes * 100 // view.total:3} %  {format_size(view.bytes)} / {format_size(view.total)}")
    if view.speed is not None:
        words.append(f"{view.speed / 1e6:.1f} MB/s")
    if view.eta is not None:
        minutes, seconds = divmod(round(view.eta), 60)
        words.append(text("download.left", minutes=minutes, seconds=f"{seconds:02}"))
    if view.waits_s is not None:
        words.append(text("download.again", seconds=round(view.waits_s)))
    return "  ".join([*words, view.file] if view.file else words)


@models_cli.command("remove")
def remove(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Id or path, as `models files` shows it.")],
    revision: Annotated[str | None, typer.Option(help="Only this commit of a Hugging Face cache.")] = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Delete a model from the disk, after a question. What runs, and what belongs to another program, stays."""
    texts = session.texts
    with product() as made:
        planned = made.models.stock.shelf.plan_removal(model, revision)
        freed = planned.removal.freed_bytes
        words = {"name": planned.model.id, "target": planned.model.target, "size": format_size(freed)}
        typer.echo(texts.text("cli.models.would_free", **words), err=True)
        if planned.model.used_by:
            broken = ", ".join(planned.model.used_by)
            typer.echo(texts.text("cli.models.would_break", profiles=broken), err=True)
        if not yes:
            agree("cli.models.remove_now", problem("models.not_asked"))
        made.models.stock.shelf.remove(planned)
    if as_json:
        paths = list(planned.removal.paths)
        print_json({"id": planned.model.id, "target": planned.model.target, "freed": freed, "removed": paths})
    else:
        typer.echo(texts.text("cli.models.removed", **words))


@models_cli.command("import-ollama")
def import_ollama(
    name: Annotated[str | None, typer.Argument(help="Such as qwen2.5:14b; without it what there is.")] = None,
    to: Annotated[str, typer.Option(help="Folder inside the target.")] = MODELS,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Copy a model's GGUF files from Ollama's store into the distro. Ollama keeps its own."""
    text = session.texts.text
    with product() as made:
        if name is None:
            manifests = made.models.stock.shelf.ollama()
            sizes = {each.name: sum(blob.size for blob, _ in each.file_names()) for each in manifests}
            if as_json:
                print_json({"models": [{"name": model, "size": size} for model, size in sizes.items()]})
            for model, size in {} if as_json else sizes.items():
                typer.echo(f"{format_size(size):>10}  {model}")
            if not sizes and not as_json:
                typer.echo(text("cli.models.no_ollama"))
            return
        line = _Line(text, silent=as_json)

        def tell(done: int, total: int, file: str) -> None:
            words = f"{text('cli.models.copying')}  {done * 100 // max(total, 1):3} %  {file}"
            line.show(words, (DownloadState.RUNNING, file))

        try:
            copied = made.models.stock.shelf.import_ollama(name, target or made.models.default_target, to, tell)
        finally:
            line.end()
    if as_json:
        print_json({"name": name, "files": [{"path": each.path, "new": each.new} for each in copied]})
    for each in () if as_json else copied:
        typer.echo(text("cli.models.copied" if each.new else "cli.models.copied_before", path=each.path))


@token_cli.command("set")
def token_set() -> None:
    """Keep a token: asked for without showing it, or read from stdin."""
    if has_person():
        token = typer.prompt(session.texts.text("cli.models.token"), hide_input=True, err=True)
    else:
        token = sys.stdin.readline() if sys.stdin is not None else ""
    token = token.strip()
    if not token.startswith("hf_") or not token.isascii() or not token.isprintable() or " " in token:
        raise ProblemError(problem("token.no_token"))
    with product() as made:
        made.models.stock.ports.token.set(token)
    typer.echo(session.texts.text("cli.models.token_kept"))


@token_cli.command("forget")
def token_forget() -> None:
    """Take the token out of the keyring."""
    with product() as made:
        found = made.models.stock.ports.token.forget()
    typer.echo(session.texts.text("cli.models.token_forgotten" if found else "cli.models.token_none"))

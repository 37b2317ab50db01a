"""What diagnostics consist of, on this PC or a simulated one. Imported when somebody asks for them.

Owns the list of the parts and their sources. A part that needs what is broken fails alone: all of them are read at the
time they are collected, the PC itself included.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kotaro_bridge.about import about
from kotaro_bridge.app import last_words
from kotaro_bridge.domain.errors import Problem, ProblemError
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.run_state import RESTING
from kotaro_bridge.domain.units import format_mib
from kotaro_bridge.domain.wsl.wslconfig_advice import lint
from kotaro_bridge.domain.wsl.wslconfig_document import Document
from kotaro_bridge.domain.wsl.wslconfig_findings import in_words
from kotaro_bridge.host import app_log
from kotaro_bridge.host import diagnostics_sources as sources
from kotaro_bridge.host.control import ask
from kotaro_bridge.host.diagnostics_zip import ZipArchive
from kotaro_bridge.host.identity import this_person
from kotaro_bridge.host.paths import Paths
from kotaro_bridge.host.profile_store import load_profiles
from kotaro_bridge.service.diagnostics import Collected, Diagnostics, Manifest, Part
from kotaro_bridge.service.owner_desk import view_document
from kotaro_bridge.texts import Texts

if TYPE_CHECKING:
    from kotaro_bridge.app.product import Product
    from kotaro_bridge.app.this_pc import Setting

_GATE_S = 60.0
_ENGINE_LOGS = 8
_REPORTS = 10
_PROFILES = 50


def diagnostics(paths: Callable[[], Paths], product: Callable[[], Product], texts: Texts) -> Diagnostics:
    """Diagnostics of a PC.

    Args:
        paths: its folders; product: what is asked for the rest. Both may raise ProblemError, again and again.
    """
    return Diagnostics(partial(_parts, paths, product, texts), this_person, ZipArchive(), partial(readme, texts))


def default_path() -> Path:
    """Where the file goes if nobody says: the desktop, or the folder that one is in."""
    import platformdirs

    name = time.strftime("kotaro-bridge-diagnostics-%Y%m%d-%H%M%S.zip")
    desktop = Path(platformdirs.user_desktop_dir())
    return (desktop if desktop.is_dir() else Path.cwd()) / name


def readme(texts: Texts, manifest: Manifest) -> str:
    """What the file says of itself: for the person who looks before handing it on, and for the one who gets it."""
    text = texts.text
    lines = [text("diagnostics.readme.title", at=time.strftime("%Y-%m-%d %H:%M:%S %z")), ""]
    lines += [text("diagnostics.readme.look"), "", text("diagnostics.readme.parts"), ""]
    lines += [f"  {part.name}  {_state(texts, part)}" for part in manifest.parts]
    lines += ["", text("diagnostics.readme.removed"), ""]
    lines += [
        f"  {kind.mark}  {text(f'diagnostics.removed.{kind.name.lower()}')}: {count}"
        for kind, count in manifest.removed
    ]
    return "\n".join([*lines, "", text("diagnostics.readme.never"), ""])


def _state(texts: Texts, part: Collected) -> str:
    if part.failed is not None:
        return texts.text(f"diagnostics.part.{part.failed.value}", seconds=round(part.seconds))
    return texts.text("diagnostics.part.there", letters=len(part.text))


def _parts(paths: Callable[[], Paths], product: Callable[[], Product], texts: Texts) -> Sequence[Part]:
    fixed = [
        Part("versions.txt", about, versions=True),
        Part("packages.txt", sources.packages, versions=True),
        Part("system.txt", lambda: sources.system((Path.home(), Paths.of_user().place("state")))),
        Part("wsl.txt", lambda: sources.wsl(product().setting.windows), sources.WSL_PART_S, versions=True),
        Part("cards.txt", lambda: _cards(product().setting)),
        Part("settings.toml", lambda: sources.file_text(paths().settings_file)),
        Part("wslconfig.txt", lambda: _wslconfig(product().setting, texts)),
        Part("profiles.txt", lambda: _profiles(paths(), texts)),
        Part("ports.txt", lambda: _ports(product().setting, paths())),
        Part("runs.json", lambda: _runs(product())),
        Part("gate.txt", lambda: _gate(product(), texts), _GATE_S + 20),
        Part("history/speeds.txt", lambda: sources.table_rows(paths().history)),
        Part("history/starts.txt", lambda: sources.table_rows(paths().starts)),
    ]
    files: list[tuple[str, Path]] = []
    kept: tuple[tuple[str, Callable[[], Path], str, int], ...] = (
        ("profiles", lambda: paths().profiles, "*.toml", _PROFILES),
        ("logs/engines", lambda: paths().logs, "*.log", _ENGINE_LOGS),
        ("logs/kotaro-bridge", last_words.log_folder, app_log.PATTERN, 2),
        ("crashes", last_words.crash_folder, "crash-*.txt", _REPORTS),
    )
    for folder, source, pattern, count in kept:
        try:
            found = sources.newest(source(), pattern, count)
        except (ProblemError, OSError) as error:
            fixed.append(Part(f"{folder}.txt", partial(_fail, error)))
        else:
            files += [(f"{folder}/{path.name}", path) for path in found]
    return (*fixed, *(Part(name, partial(sources.file_text, path)) for name, path in files))


def _fail(error: Exception) -> str:
    raise error


def _said(texts: Texts, what: Problem) -> str:
    message = texts.message(what)
    return "\n    ".join((f"{what.code}: {message.what}", *what.evidence))


def _cards(setting: Setting) -> str:
    machine = setting.machine
    try:
        lines = [str(card) for card in machine.gpu.snapshot()] or ["no card"]
    except ProblemError as error:
        lines = [str(error.problem), *error.problem.evidence]
    counters = machine.counters.read()
    if counters is None:
        return "\n".join([*lines, "no counters of Windows"])
    return "\n".join([*lines, f"shared GPU memory {counters.shared}", *map(str, counters.processes)])


def _wslconfig(setting: Setting, texts: Texts) -> str:
    """The file as it is, then what WSL will say of it, and our advice."""
    data = setting.machine.wslconfig()
    if data is None:
        return f"no file {setting.wslconfig}"
    document = Document(data, str(setting.wslconfig))
    found = lint(document, setting.host_facts())
    lines = [f"{setting.wslconfig}: {len(data)} bytes, {document.encoding}", "", document.text, ""]
    lines += [f"WSL: {texts.message(in_words(warning)).what}" for warning in found.wsl_warnings[:100]]
    return "\n".join([*lines, *(f"line {each.line}: {_said(texts, each.message)}" for each in found.advice)])


def _profiles(paths: Paths, texts: Texts) -> str:
    profiles, problems = load_profiles(paths.profiles)
    lines = [
        f"{'built in' if each.builtin else 'own     '} {each.id}: {each.engine.value}, {each.target}, {each.model}"
        for each in profiles
    ]
    return "\n".join([*lines, *(_said(texts, each) for each in problems)])


def _ports(setting: Setting, paths: Paths) -> str:
    ports = sorted({profile.port for profile in load_profiles(paths.profiles)[0]})
    return "\n".join(f"{port}: {'free' if setting.machine.port_free(port) else 'taken'} on this side" for port in ports)


def _runs(product: Product) -> str:
    """Runs of this process or, where another one owns them, what it answers."""
    return json.dumps(_status(product), ensure_ascii=False, indent=1)


def _status(product: Product) -> dict[str, Any]:
    if product.is_owner:
        return {"owner": "this process", "runs": [view_document(each.view) for each in product.supervisor.actors()]}
    return ask(product.setting.paths.state, {"verb": "status"}) or {"owner": None, "runs": []}


def _gate(product: Product, texts: Texts) -> str:
    """The gate's answer for each profile. Distros that are off stay off, and nothing is asked beside a run: an engine
    that lists its devices takes some of the card meanwhile.
    """
    until = time.monotonic() + _GATE_S
    busy = [run["profile"] for run in _status(product)["runs"] if run["state"] not in RESTING]
    if busy:
        return f"not asked while this runs: {', '.join(busy)}"
    machine, profiles = product.setting.machine, product.supervisor.profiles()
    running: frozenset[str] | None = None
    said = []
    try:
        installed = machine.installed_distros()
        on = {name.lower() for name in machine.running_distros()}
        running = frozenset(on | ({""} if installed and installed[0].lower() in on else set()))
    except ProblemError as error:
        said = [_said(texts, error.problem)]
    return "\n\n".join([*said, *(_of_profile(product, profile, texts, running, until) for profile in profiles)])


def _of_profile(product: Product, profile: Profile, texts: Texts, running: frozenset[str] | None, until: float) -> str:
    """`running`: distros that run, in small letters, "" if the default one does; None where WSL does not answer."""
    head = f"# {profile.id}"
    if time.monotonic() > until:
        return f"{head}\nnot asked: the others took too long"
    if not profile.is_local and running is None:
        return f"{head}\nnot asked: WSL does not answer"
    if not profile.is_local and (profile.distro or "").lower() not in (running or ()):
        return f"{head}\nnot asked: its distro does not run, and asking would start it"
    try:
        report = product.supervisor.check(profile.id).report
    except ProblemError as error:
        return f"{head}\n{_said(texts, error.problem)}"
    lines = [f"{check.status.value:8} {check.id.value}: {_said(texts, check.message)}" for check in report.checks]
    holders = [f"holds {holder.kind.value} {holder.name}: {format_mib(holder.bytes or 0)}" for holder in report.holders]
    return "\n".join([head, *lines, *holders])


class Lazily:
    """A product that is made when a part first asks for it, for all of them together.

    Args:
        make: may raise ProblemError, which each part that asks gets to hear.
    """

    def __init__(self, make: Callable[[], Product]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: Product | None = None

    def __call__(self) -> Product:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def close(self) -> None:
        """End it, if it was ever made."""
        with self._lock:
            if self._made is not None:
                self._made.close()
                self._made = None

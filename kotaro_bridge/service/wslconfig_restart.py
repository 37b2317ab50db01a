"""A change of .wslconfig takes effect: WSL is restarted around our runs, and what came of the file is looked up.

Owns the order of a restart (runs stop cleanly, shutdown, start, proof, runs start again) and whether a change waits for
one. What differs and why are rules of `domain/wsl/wslconfig_proof.py`. Must not edit the file (`wslconfig_edit.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from kotaro_bridge.domain.errors import Param, Problem, ProblemError, problem
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.run_state import RESTING, SERVING, STARTING, Phase
from kotaro_bridge.domain.run.run_view import RunView
from kotaro_bridge.domain.wsl.wsl_vm import DOCKER, VmFacts, WslVm
from kotaro_bridge.domain.wsl.wslconfig_catalogue import VM_IDLE_MS
from kotaro_bridge.domain.wsl.wslconfig_document import Document
from kotaro_bridge.domain.wsl.wslconfig_effect import Affected, EffectReport
from kotaro_bridge.domain.wsl.wslconfig_proof import prove
from kotaro_bridge.domain.wsl.wslconfig_recommend import HostFacts, ModelLoad
from kotaro_bridge.domain.wsl.wslconfig_store import WslConfigStore
from kotaro_bridge.domain.wsl.wslconfig_values import Value, number
from kotaro_bridge.service.wslconfig_edit import Editor


class Step(StrEnum):
    """What a restart is at; sentences are `wslconfig.step.<step>`."""

    STOP_RUNS = "stop_runs"
    SHUTDOWN = "shutdown"
    START = "start"
    PROVE = "prove"
    START_RUNS = "start_runs"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each step may take, in seconds. `wsl --shutdown` itself gives the VM 30 s and forces it within another
    30 (reference wsl-exe §4.3), after all distros; its kernel has 30 s to boot, a distro 60 s to start (defaults)."""

    stop_s: float = 30.0
    shutdown_s: float = 120.0
    start_s: float = 120.0
    facts_s: float = 20.0
    reach_s: float = 8.0
    seen_s: float = 5.0
    load_s: float = 900.0
    look_s: float = 60.0


class Run(Protocol):
    """One of our runs, as `RunActor` is."""

    @property
    def profile(self) -> Profile: ...

    @property
    def view(self) -> RunView: ...

    def stop(self) -> None: ...

    def wait(self, wanted: Callable[[RunView], bool], timeout_s: float) -> RunView: ...


class Runs(Protocol):
    """All our runs, as `Supervisor` has them."""

    def profiles(self) -> tuple[Profile, ...]: ...

    def actors(self) -> Sequence[Run]: ...

    def actor(self, profile_id: str) -> Run: ...

    def start(self, profile_id: str) -> None: ...

    def submit(self, work: Callable[[], None]) -> None: ...


@dataclass(frozen=True, slots=True)
class _Seen:
    """A VM that was seen to run. `values`: what it was made with; None: the file was written after it began."""

    boot_id: str
    values: Mapping[str, Value] | None


def model_paths(profiles: Sequence[Profile], distro: str) -> tuple[str, ...]:
    """The models that the profiles load inside a distro. One without a name is meant for the default distro, which is
    the one that is asked first."""
    return tuple(dict.fromkeys(each.model for each in profiles if not each.is_local and each.distro in (None, distro)))


def model_loads(profiles: Sequence[Profile], sizes: Mapping[str, int]) -> tuple[ModelLoad, ...]:
    """The models in use: those whose files are there, each under its first profile's title."""
    titles: dict[str, str] = {}
    for each in profiles:
        if not each.is_local and each.model in sizes:
            titles.setdefault(each.model, each.title)
    return tuple(ModelLoad(title, sizes[path]) for path, title in titles.items())


def models_seen(profiles: Sequence[Profile], vm: WslVm) -> Mapping[str, int]:
    """Bytes of the models in use by path, where a distro runs that tells. Blocking; starts nothing; never raises."""
    try:
        running = vm.running()
        distro = distro_to_ask(running) if running else ""
        return dict(vm.facts(distro, model_paths(profiles, distro), Patience().facts_s).models) if running else {}
    except ProblemError:
        return {}


def distro_to_ask(running: Sequence[str]) -> str:
    """The one that answers for the VM: not Docker's own, where another runs. `running` is not empty."""
    return next((name for name in running if not name.startswith(DOCKER)), running[0])


class WslConfigDesk:
    """Everything about this user's .wslconfig, for the windows and the command line. Safe for threads.

    Args:
        host: facts of the PC; models are added here.
    """

    def __init__(
        self,
        store: WslConfigStore,
        vm: WslVm,
        runs: Runs,
        host: Callable[[], HostFacts],
        patience: Patience = Patience(),
    ) -> None:
        self._store = store
        self._vm = vm
        self._runs = runs
        self._host = host
        self._patience = patience
        self._restarting = threading.Lock()
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._seen: _Seen | None = None
        self._vm_runs = False
        self._emptied: float | None = None
        self._stamp: float | None = None
        self._values: Mapping[str, Value] | None = None
        self._looking = False
        self._looked: tuple[float | None, float] | None = None

    def editor(self) -> Editor:
        """A fresh editor of the file; does not ask WSL. Raises ProblemError if the file cannot be read."""
        return Editor(self._store, self.host())

    def host(self) -> HostFacts:
        """The PC, with the models whose sizes were seen so far."""
        with self._lock:
            sizes = dict(self._sizes)
        return replace(self._host(), models=model_loads(self._runs.profiles(), sizes))

    # The proof

    def effects(self) -> EffectReport:
        """What the VM that runs made of the file. Blocking; starts nothing.

        Raises:
            ProblemError: `wslconfig.not_running`; WSL does not answer; the file cannot be read.
        """
        running = self._vm.running()
        if not running:
            raise ProblemError(problem("wslconfig.not_running"))
        distro = distro_to_ask(running)
        facts = self._facts(distro, self._patience.facts_s)
        return self._report(self._document(), facts, distro)

    def _report(self, document: Document, facts: VmFacts, distro: str | None) -> EffectReport:
        waits = self._note(facts, document.config.values)
        reached = self._vm.reaches(distro, self._patience.reach_s)
        return prove(document, self.host(), facts, reached=reached, waits=waits)

    def _document(self) -> Document:
        return Document(self._store.read().data or b"", self._store.name)

    def _facts(self, distro: str | None, timeout_s: float) -> VmFacts:
        facts = self._vm.facts(distro, model_paths(self._runs.profiles(), distro or ""), timeout_s)
        with self._lock:
            self._sizes |= dict(facts.models)
        return facts

    # Whether a change waits

    def pending(self) -> bool:
        """True if the file says something else than it did when the VM that runs was made. Returns at once.

        A VM is known by its boot id. One that is met for the first time took the file as it is if that was last written
        before the VM began, by the VM's own clock (which may be late after the PC has slept). One that was never met
        because its last distro had stopped before the first look is not known. The look into the VM goes on in the
        background: at first, when the file was written, and each minute while a change waits, so that an idle distro
        is not kept running by it. It starts nothing.
        """
        stamp = self._store.changed_at()
        if self._values is None or stamp != self._stamp:
            try:
                values = self._document().config.values
            except ProblemError:
                return False
            with self._lock:
                self._stamp, self._values = stamp, values
        now = time.monotonic()
        with self._lock:
            waits = self._vm_runs and self._seen is not None and self._seen.values != self._values
            stale = self._looked is None or self._looked[0] != stamp
            if self._looked is not None and waits:
                stale = stale or now - self._looked[1] >= self._patience.look_s
            start = stale and not self._looking
            if start:
                self._looking, self._looked = True, (stamp, now)
        if start:
            self._runs.submit(self._look)
        return waits

    def _look(self) -> None:
        try:
            facts = self._ask_running()
            if facts is not None and self._values is not None:
                self._note(facts, self._values)
        finally:
            with self._lock:
                self._looking = False

    def _ask_running(self) -> VmFacts | None:
        """What the VM shows; None where none runs or it does not answer."""
        try:
            running = self._vm.running()
            with self._lock:
                self._vm_runs = bool(running) or self._lives_on()
            return self._facts(distro_to_ask(running), self._patience.facts_s) if running else None
        except ProblemError:
            return None

    def _lives_on(self) -> bool:
        """Whether a VM that was seen may still be there though no distro runs: it outlives the last one by its
        `vmIdleTimeout`, and a distro that is started meanwhile finds its old settings (reference wsl-exe §7)."""
        if not self._vm_runs or self._seen is None:
            return False
        now = time.monotonic()
        self._emptied = now if self._emptied is None else self._emptied
        idle_ms = number(self._seen.values or {}, "wsl2.vmIdleTimeout")
        idle_ms = VM_IDLE_MS if idle_ms is None else idle_ms
        return idle_ms < 0 or now - self._emptied < idle_ms / 1000

    def _note(self, facts: VmFacts, values: Mapping[str, Value]) -> bool:
        """Remember what a VM was made with; True if the file says something else by now."""
        changed = self._store.changed_at()
        with self._lock:
            self._vm_runs, self._emptied = True, None
            if facts.boot_id is None or self._seen is None or self._seen.boot_id != facts.boot_id:
                # The VM tells whole seconds. Within one a restart has followed a save, and hardly a save a start.
                older = changed is not None and facts.began_at is not None and changed >= facts.began_at + 1
                self._seen = _Seen(facts.boot_id or "", None if older else values)
            return self._seen.values != values

    # The restart

    def affected(self) -> Affected:
        """What a restart stops now. Blocking. Raises ProblemError where WSL does not answer."""
        distros = self._vm.running()
        runs = tuple(run.profile.title for run in self._live() if run.view.phase in STARTING | SERVING)
        return Affected(distros, runs, any(name.startswith(DOCKER) for name in distros))

    def restart(self, progress: Callable[[str], None] = lambda _: None) -> EffectReport:
        """Restart WSL and prove the file. Blocking, bounded; our runs that were up are started again afterwards, one
        after the other.

        Args:
            progress: called with each `Step` as it begins.

        Raises:
            ProblemError: `wslconfig.restart.<step>`; with `_runs` at its end it names runs that were stopped before the
                failure: they are not started again. `wslconfig.restart.busy`; the file cannot be read.
        """
        if not self._restarting.acquire(blocking=False):
            raise ProblemError(problem("wslconfig.restart.busy"))
        try:
            return self._restart(progress)
        finally:
            self._restarting.release()

    def _restart(self, progress: Callable[[str], None]) -> EffectReport:
        self._document()  # a file that cannot be read is known before anything is stopped
        live = self._live()
        again = [run.profile for run in live if run.view.phase in STARTING | SERVING]
        before = self._ask_running()
        progress(Step.STOP_RUNS)
        self._stop(live)
        progress(Step.SHUTDOWN)
        self._shut_down(again)
        progress(Step.START)
        distro = again[0].distro if again else None
        document, facts = self._start(distro, again)
        if before is not None and before.boot_id is not None and before.boot_id == facts.boot_id:
            raise _failed("same_vm", again)
        with self._lock:
            self._vm_runs, self._emptied, self._seen = True, None, _Seen(facts.boot_id or "", document.config.values)
        progress(Step.PROVE)
        report = self._report(document, facts, distro)
        progress(Step.START_RUNS)
        self._start_again(again)
        return report

    def _live(self) -> list[Run]:
        """Our runs in WSL that do not rest."""
        return [run for run in self._runs.actors() if not run.profile.is_local and run.view.phase not in RESTING]

    def _stop(self, live: Sequence[Run]) -> None:
        """A run that even KILL does not end (ORPHANED) is ended by the shutdown."""
        deadline = time.monotonic() + self._patience.stop_s
        for run in live:
            run.stop()
        for run in live:
            run.wait(_ended, max(0.0, deadline - time.monotonic()))
        left = [run.profile for run in live if not _ended(run.view)]
        if left:
            raise _failed("stop", [run.profile for run in live if _ended(run.view)], title=left[0].title)

    def _shut_down(self, stopped: Sequence[Profile]) -> None:
        try:
            self._vm.shutdown(self._patience.shutdown_s)
        except ProblemError as error:
            why = error.problem
            if why.code == "wsl.hangs":
                raise _failed("hangs", stopped, *why.evidence, seconds=round(self._patience.shutdown_s)) from error
            raise _failed("shutdown", stopped, *why.evidence, **_inner(why)) from error

    def _start(self, distro: str | None, stopped: Sequence[Profile]) -> tuple[Document, VmFacts]:
        """The file as the new VM finds it, and what that shows."""
        try:
            document = self._document()
            return document, self._facts(distro, self._patience.start_s)
        except ProblemError as error:
            why = error.problem
            raise _failed("start", stopped, *why.evidence, **_inner(why)) from error

    def _start_again(self, profiles: Sequence[Profile]) -> None:
        """One after the other: a card takes one model at a time."""
        for profile in profiles:
            run = self._runs.actor(profile.id)
            before = run.wait(lambda view: view.phase in RESTING, self._patience.stop_s).generation
            self._runs.start(profile.id)
            run = self._runs.actor(profile.id)
            run.wait(lambda view, before=before: view.generation != before, self._patience.seen_s)  # type: ignore[misc]
            if profile is not profiles[-1]:
                run.wait(lambda view: view.phase not in STARTING, self._patience.load_s)


def _ended(view: RunView) -> bool:
    return view.phase in RESTING or view.phase is Phase.ORPHANED


def _inner(why: Problem) -> dict[str, Param]:
    """A problem as values of the one that it leads to: `error` is what Windows called it, or its code."""
    return {**why.params, "error": str(why.params.get("error", why.code))}


def _failed(step: str, stopped: Sequence[Profile], *evidence: str, **params: Param) -> ProblemError:
    """A step that failed, and the runs that it left stopped."""
    if not stopped:
        return ProblemError(problem(f"wslconfig.restart.{step}", *evidence, **params))
    titles = ", ".join(profile.title for profile in stopped)
    return ProblemError(problem(f"wslconfig.restart.{step}_runs", *evidence, **params, runs=titles))

"""All runs of one machine: one actor per profile, their shared pool, and what an earlier owner left behind.

The single place where front ends ask for starts and stops. No method blocks, but for `close` and those that say so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePath

import msgspec

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.model.download import RUN_PREFIX
from kotaro_bridge.domain.ports import ProfileStore
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run import run_state as rs
from kotaro_bridge.domain.run.remedy import Remedy, RemedyKind, changes
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import Notice, RunView
from kotaro_bridge.service.bus import Bus
from kotaro_bridge.service.gatekeeper import Gatekeeper, GateResult
from kotaro_bridge.service.holders import Serving
from kotaro_bridge.service.log_ring import LogRing
from kotaro_bridge.service.machine import Machine
from kotaro_bridge.service.prover import Prover
from kotaro_bridge.service.run_actor import RunActor
from kotaro_bridge.service.run_log import LogFile
from kotaro_bridge.service.run_session import Context

log = logging.getLogger(__name__)

_POOL = 4
_VLLM_LOAD_S = 600.0  # the first start compiles; 112 s measured on an H100 (captures q14)
_CLOSE_S = 30.0
_START_SEEN_S = 5.0
TRIAL = "~try"
"""Id of the run that tries a profile; no file can have it (`PROFILE_ID`)."""


def default_limits(profile: Profile) -> rs.Limits:
    """Deadlines by engine: vLLM compiles and captures graphs before it listens."""
    return rs.Limits(load_s=_VLLM_LOAD_S) if profile.engine is Engine.VLLM else rs.Limits()


class Supervisor:
    """Runs of one machine.

    Args:
        profiles: the profiles and what is wrong with those that could not be read.
        open_log: opens the file of a run's log; None keeps no file.
        store: where remedies change a profile.
        elsewhere: runs that serve and that another process of this user owns: profile id, bytes of VRAM taken.
    """

    def __init__(
        self,
        machine: Machine,
        bus: Bus,
        profiles: tuple[tuple[Profile, ...], tuple[Problem, ...]],
        open_log: Callable[[Profile, str], LogFile | None],
        limits: Callable[[Profile], rs.Limits] = default_limits,
        *,
        store: ProfileStore,
        elsewhere: Callable[[], tuple[tuple[str, int | None], ...]] = lambda: (),
    ) -> None:
        self._pool = ThreadPoolExecutor(_POOL, thread_name_prefix="pool")
        # The gate's reads have a pool of their own: a check that waits for its parts must not wait for itself.
        self._gate_pool = ThreadPoolExecutor(_POOL, thread_name_prefix="gate")
        self._gatekeeper = Gatekeeper(machine, self._gate_pool, serving=self._serving)
        self._machine = machine
        self._profiles, self._problems = profiles
        self._store = store
        self._elsewhere = elsewhere
        self._samples: Callable[[], int | None] = lambda: None
        self._context = Context(
            machine,
            self._gatekeeper,
            Prover(machine),
            self._pool,
            bus,
            open_log,
            limits,
            samples=lambda: self._samples(),
        )
        self._actors: dict[str, RunActor] = {}
        self._applying: set[str] = set()
        self._closing = False
        self._front: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._starting = threading.Lock()  # a start goes to an actor that is not replaced meanwhile

    def watched_by(self, samples: Callable[[], int]) -> None:
        """Runs end where `samples`, the count of samples that were judged, stands still: nobody watches them then."""
        self._samples = samples

    def profiles(self) -> tuple[Profile, ...]:
        """The profiles that can be started, in the order in which they are shown."""
        return self._profiles

    def profile_problems(self) -> tuple[Problem, ...]:
        """What is wrong with profile files that could not be read."""
        return self._problems

    def profile(self, profile_id: str) -> Profile:
        """One profile. Raises ProblemError for an unknown id, with the known ones, or what is wrong with its file."""
        for profile in self._profiles:
            if profile.id == profile_id:
                return profile
        for broken in self._problems:
            if _id_of(broken) == profile_id:
                raise ProblemError(broken)
        known = ", ".join(profile.id for profile in self._profiles)
        raise ProblemError(problem("profile.unknown", id=profile_id, known=known))

    def actor(self, profile_id: str) -> RunActor:
        """The actor of a profile, made on first use. Raises ProblemError for an unknown id."""
        with self._lock:
            if profile_id in self._actors:
                return self._actors[profile_id]
        profile = self.profile(profile_id)
        with self._lock:
            if profile_id not in self._actors:
                self._actors[profile_id] = RunActor(profile, self._context)
            return self._actors[profile_id]

    def actors(self) -> tuple[RunActor, ...]:
        """The actors made so far."""
        with self._lock:
            return tuple(self._actors.values())

    def view(self, profile_id: str) -> RunView:
        """The run of one profile as it is now."""
        with self._lock:
            actor = self._actors.get(profile_id)
        return actor.view if actor else RunView(self.profile(profile_id).id, Phase.IDLE, 0, 0.0)

    def begin_trial(self, profile: Profile) -> RunActor:
        """The actor for a try of a profile that need not be stored, under `TRIAL`: one at a time, stopped like any run.

        Raises:
            ProblemError: `editor.trial_running`.
        """
        with self._lock:
            before = self._actors.get(TRIAL)
            if self._closing or (before is not None and before.view.phase not in rs.RESTING):
                raise ProblemError(problem("editor.trial_running"))
            tried = msgspec.structs.replace(profile, id=TRIAL)
            made = self._actors[TRIAL] = RunActor(tried, self._context)
        if before is not None:  # what was left over of the last one has ended since
            before.close(_CLOSE_S)
        return made

    def end_trial(self, actor: RunActor) -> None:
        """Let go of a try that rests. What could not be ended keeps its place, and can be stopped again."""
        if actor.view.phase not in rs.RESTING:
            return
        with self._lock:
            if self._actors.get(TRIAL) is actor:
                del self._actors[TRIAL]
        actor.close(_CLOSE_S)

    def start(self, profile_id: str) -> None:
        """Ask for a start; what comes of it arrives on the bus."""
        with self._starting:
            if not self._closing:
                self._current(profile_id).start()

    def stop(self, profile_id: str) -> None:
        """Ask for a stop; accepted in every state."""
        self.actor(profile_id).stop()

    def log(self, profile_id: str) -> LogRing:
        """The newest lines of the profile's engine."""
        return self.actor(profile_id).ring

    def apply(self, profile_id: str, remedy: Remedy) -> None:
        """Apply a remedy to a profile whose run rests, then start it; what goes wrong arrives on the bus.

        Does nothing while the profile runs or another remedy is being applied to it. Raises ProblemError for an
        unknown id.
        """
        resting = self.view(profile_id).phase in rs.RESTING
        with self._lock:
            if profile_id in self._applying or not resting:
                return
            self._applying.add(profile_id)
        self.submit(lambda: self._apply(profile_id, remedy))

    def _apply(self, profile_id: str, remedy: Remedy) -> None:
        try:
            if remedy.changes_profile:
                self._adopt(self._store.change(profile_id, changes(self.profile(profile_id), remedy)))
            elif remedy.kind is RemedyKind.UNLOAD:
                self._machine.ollama.unload(remedy.value)
            elif remedy.kind is RemedyKind.FORGET:
                self._machine.speeds.forget(profile_id)
            else:
                self._stop_and_wait(remedy.value)
            with self._starting:
                if self._closing:
                    return
                actor = self._current(profile_id)
                before = actor.view.generation
                actor.start()
            # A second click on the same button finds the run under way.
            actor.wait(lambda view: view.generation != before, _START_SEEN_S)
        except ProblemError as error:
            self._context.bus.publish(Notice(error.problem, profile_id))
        finally:
            with self._lock:
                self._applying.discard(profile_id)

    def _stop_and_wait(self, profile_id: str) -> None:
        """Raises ProblemError `remedy.still_there` if the run does not come to rest in time."""
        other = self.actor(profile_id)
        other.stop()
        view = other.wait(lambda view: view.phase in (*rs.RESTING, Phase.ORPHANED), _CLOSE_S)
        if view.phase not in rs.RESTING:
            raise ProblemError(problem("remedy.still_there", title=other.profile.title))

    def reload(self, profile_id: str) -> None:
        """Take over a profile whose file is new or was changed; a run under way goes on. Raises ProblemError."""
        self._adopt(self._store.read(profile_id))

    def check_resting(self, profile_id: str) -> None:
        """Raises ProblemError `profile.running` while the profile's run is not at rest."""
        if any(actor.profile.id == profile_id and actor.view.phase not in rs.RESTING for actor in self.actors()):
            raise ProblemError(problem("profile.running", id=profile_id))

    def forget(self, profile_id: str) -> None:
        """Let go of a profile whose file the user removed; a built-in one of that name is there again.

        Raises:
            ProblemError: `profile.running`.
        """
        self.check_resting(profile_id)
        try:
            self._adopt(self._store.read(profile_id))
        except ProblemError:
            with self._lock:
                self._profiles = tuple(profile for profile in self._profiles if profile.id != profile_id)
                self._problems = tuple(broken for broken in self._problems if _id_of(broken) != profile_id)

    def _adopt(self, changed: Profile) -> None:
        with self._lock:
            known = {profile.id: profile for profile in self._profiles}
            self._profiles = tuple((known | {changed.id: changed}).values())
            self._problems = tuple(broken for broken in self._problems if _id_of(broken) != changed.id)

    def _current(self, profile_id: str) -> RunActor:
        """The actor of the profile as it is now: another one if it was changed, and the run of the old one rests."""
        actor, profile = self.actor(profile_id), self.profile(profile_id)
        if actor.alive and (actor.profile == profile or actor.view.phase not in rs.RESTING):
            return actor
        with self._lock:
            if self._closing or self._actors[profile_id] is not actor:
                return self._actors[profile_id]
            made = self._actors[profile_id] = RunActor(profile, self._context, after=actor)
        actor.close(_CLOSE_S)
        return made

    def _serving(self) -> tuple[Serving, ...]:
        """All runs of this user that serve, those of another owner too. Blocking."""
        views = [(actor.profile, actor.view) for actor in self.actors()]
        known = {profile.id: profile for profile in self._profiles}
        return (
            *(Serving(profile, view.vram_taken) for profile, view in views if view.phase in rs.SERVING),
            *(Serving(known[name], taken) for name, taken in self._elsewhere() if name in known),
        )

    def stop_all(self) -> None:
        """Ask every run to stop."""
        for actor in self.actors():
            actor.stop()

    def end_all(self) -> None:
        """Ask every run to stop; nothing starts any more."""
        with self._starting, self._lock:
            self._closing = True
        self.stop_all()

    def live(self) -> tuple[RunView, ...]:
        """The runs that do not rest, a try (`TRIAL`) among them."""
        return tuple(view for view in (actor.view for actor in self.actors()) if view.phase not in rs.RESTING)

    def all_resting(self) -> bool:
        """True if nothing runs and nothing is left over."""
        return not self.live()

    def submit(self, work: Callable[[], None]) -> None:
        """Run a blocking call of a front end on a thread of its own: a chat that hangs must not keep a stop waiting."""

        def guarded() -> None:
            try:
                work()
            except Exception:
                log.exception("work of a front end failed")

        thread = threading.Thread(target=guarded, name="front", daemon=True)
        with self._lock:
            self._front = [*(other for other in self._front if other.is_alive()), thread]
        thread.start()

    def check(self, profile_id: str | None = None, need: int | None = None) -> GateResult:
        """The gate's answer without a start. Blocking. Raises ProblemError for an unknown id."""
        return self._gatekeeper.check(self.profile(profile_id) if profile_id else None, need)

    def reap_leftovers(self) -> tuple[Problem, ...]:
        """End runs that an earlier owner left behind; says which. Blocking; starts no distro that is off.

        Runs of this owner go on: a person may have started one while this was looking.
        """
        found: list[Problem] = []
        for target in {profile.target: profile for profile in self._profiles}.values():
            try:
                launcher = self._machine.launcher(target)
                alive = launcher.leftovers()
                ours = {actor.run_id for actor in self.actors()}
                engines = (run_id for run_id in alive if not run_id.startswith(RUN_PREFIX))
                for run_id in (run_id for run_id in engines if run_id not in ours):
                    left = launcher.reap(run_id, rs.Limits().grace_s)
                    pids = ", ".join(map(str, left))
                    found.append(
                        problem("stop.leftover_kept" if left else "stop.leftover_ended", run=run_id, pids=pids)
                    )
            except ProblemError as error:
                log.info("no look for leftovers in %s: %s", target.target, error.problem.code)
        return tuple(found)

    def announce_leftovers(self) -> bool:
        """End what an earlier owner left behind, and tell the bus; True if there was something. Blocking."""
        found = self.reap_leftovers()
        for each in found:
            self._context.bus.publish(Notice(each))
        return bool(found)

    def close(self) -> bool:
        """Stop everything, wait for it in bounded time, end all threads. True if nothing is left."""
        deadline = time.monotonic() + _CLOSE_S
        with self._lock:
            self._closing = True

        def left_s() -> float:
            return max(0.0, deadline - time.monotonic())

        self.stop_all()
        for actor in self.actors():
            actor.wait(lambda view: view.phase in (*rs.RESTING, Phase.ORPHANED), left_s())
        clean = self.all_resting()
        for actor in self.actors():
            actor.close(_CLOSE_S)
        for thread in self._front:
            thread.join(left_s())
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._gate_pool.shutdown(wait=True, cancel_futures=True)
        return clean


def _id_of(broken: Problem) -> str:
    """The profile that a problem of a file is about."""
    return PurePath(str(broken.params.get("file", ""))).stem

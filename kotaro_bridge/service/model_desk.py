"""Models as a window works with them: what fits, what is here, what is on its way.

Owns that one front end needs one object, and nothing that the use cases behind it own. Everything blocks but for what
says that it does not: it is asked from a worker thread.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.download import COPY_PREFIX, RESTING, DownloadRequest, DownloadView
from kotaro_bridge.service.machine import Machine
from kotaro_bridge.service.supervisor import Supervisor

if TYPE_CHECKING:
    from kotaro_bridge.domain.model.catalogue import CatalogueEntry
    from kotaro_bridge.domain.model.model_files import StoredModel
    from kotaro_bridge.domain.planning.plan_parts import PlannedModel
    from kotaro_bridge.service.card_sight import CardSight
    from kotaro_bridge.service.model_shelf import OnMachine, PlannedRemoval
    from kotaro_bridge.service.model_stock import ModelStock
    # Catalogue and stock are loaded where they are asked for: a tray without this window stays small.

_TOKEN = re.compile(r"hf_[\x21-\x7e]+\Z")
_PAUSE_S = 10.0


@dataclass(frozen=True, slots=True)
class ModelSources:
    """What the composition root hands in.

    Args:
        catalogue: all entries; resolve: any other model by what a person calls it, with the token.
    """

    catalogue: Callable[[], tuple[CatalogueEntry, ...]]
    resolve: Callable[[str, str | None], PlannedModel]


class ModelDesk:
    """Implements `ui.desk.ModelsPort`.

    Args:
        make_stock: makes what works with model files; called once, when something of it is first asked for.
    """

    def __init__(
        self, machine: Machine, supervisor: Supervisor, make_stock: Callable[[], ModelStock], sources: ModelSources
    ) -> None:
        self._machine = machine
        self._supervisor = supervisor
        self._make_stock = make_stock
        self._sources = sources
        self._making = threading.Lock()
        self._stock: ModelStock | None = None

    @property
    def stock(self) -> ModelStock:
        """What works with model files."""
        with self._making:
            if self._stock is None:
                self._stock = self._make_stock()
            return self._stock

    def close(self) -> None:
        """Pause and end what is under way, in bounded time."""
        if self._stock is not None:
            self._stock.close()

    def entries(self) -> tuple[CatalogueEntry, ...]:
        """The catalogue. Raises ProblemError `catalogue.broken`."""
        return self._sources.catalogue()

    def card(self, index: int = 0) -> CardSight:
        """A card now. Raises ProblemError as `look_at_card`."""
        from kotaro_bridge.service.card_sight import look_at_card

        return look_at_card(self._machine.gpu.snapshot, lambda need: self._supervisor.check(need=need).report, index)

    def resolve(self, name: str) -> CatalogueEntry:
        """Any model by an id of Hugging Face, a file, a folder or an address. Raises ProblemError."""
        from kotaro_bridge.domain.model.catalogue import ModelFile, entry_of
        from kotaro_bridge.domain.model.catalogue_files import download_named

        try:
            token = self.stock.ports.token.get()
        except ProblemError:
            token = None  # most models want none, and the others say so
        try:
            entry = entry_of(self._sources.resolve(name, token), name)
        except ProblemError as error:
            if error.problem.code != "model.missing":
                raise
            raise ProblemError(problem("models.unresolved", name=name)) from None
        request = download_named(name, "")
        if request is None:
            return entry
        files = tuple(ModelFile(file, entry.download_bytes) for file in request.files)
        return replace(entry, repository=request.repo, files=files if entry.engine is Engine.LLAMA_SERVER else ())

    def files(self, *, start: bool = False) -> OnMachine:
        """What is on the machine; `start`: look into the default distro even if that starts it."""
        return self.stock.shelf.files(start=start)

    def plan_removal(self, model: StoredModel) -> PlannedRemoval:
        """What deleting it would do. Raises ProblemError as `Shelf.plan_removal`."""
        return self.stock.shelf.plan_removal(model.id)

    def remove(self, agreed: PlannedRemoval) -> int:
        """Delete what was agreed to; bytes freed. Raises ProblemError as `Shelf.remove`."""
        return self.stock.shelf.remove(agreed)

    def has_token(self) -> bool:
        """True if a token is kept. Raises ProblemError `token.keyring`."""
        return self.stock.ports.token.get() is not None

    def keep_token(self, token: str) -> None:
        """Keep a token. Raises ProblemError `token.no_token` or `token.keyring`."""
        if not _TOKEN.match(token.strip()):
            raise ProblemError(problem("token.no_token"))
        self.stock.ports.token.set(token.strip())

    def forget_token(self) -> bool:
        """Forget it; False if there was none. Raises ProblemError `token.keyring`."""
        return self.stock.ports.token.forget()

    # --- what is on its way ---------------------------------------------------------------------------------------

    @property
    def default_target(self) -> str:
        """Where a model goes. Does not block."""
        return self.stock.ports.default_target

    def download(self, request: DownloadRequest) -> str:
        """Ask for a download; what comes of it arrives on the bus. Raises ProblemError."""
        return self.stock.downloads.start(request)

    def import_ollama(self, name: str) -> str:
        """Copy one of Ollama's models into the default target; what comes of it arrives on the bus."""
        return self.stock.copies.start(name, self.default_target)

    def transfers(self) -> tuple[DownloadView, ...]:
        """All downloads and copies. Does not block; nothing is on its way before the stock is made."""
        return self._stock.transfers() if self._stock is not None else ()

    def busy(self) -> bool:
        """True if something is on its way. Does not block."""
        return any(view.state not in RESTING for view in self.transfers())

    def pause(self, name: str) -> None:
        """Pause a download, or end a copy, of which nothing stays."""
        if name.startswith(COPY_PREFIX):
            self.stock.copies.end(name)
        else:
            self.stock.downloads.pause(name)

    def resume(self, name: str) -> None:
        """Go on with a download. Does not block."""
        self.stock.downloads.resume(name)

    def drop(self, name: str) -> None:
        """Show a transfer that rests no longer. Does not block."""
        self.stock.downloads.forget(name)
        self.stock.copies.forget(name)

    def cancel(self, name: str) -> int:
        """Pause a download, delete what is there of it, and forget it; bytes freed.

        Raises:
            ProblemError: what is there cannot be found or deleted; the download is paused then.
        """
        from kotaro_bridge.domain.model.catalogue_files import unfinished_of

        self.stock.downloads.pause(name)
        view = self.stock.downloads.wait(name, _PAUSE_S)
        left = unfinished_of(view, self.stock.shelf.files(start=True).models)
        freed = self.stock.shelf.remove(self.stock.shelf.plan_removal(left.id)) if left is not None else 0
        self.stock.downloads.forget(name)
        return freed

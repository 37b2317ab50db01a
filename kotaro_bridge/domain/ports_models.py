"""The protocols of model files: what downloads and the list of models need of a target and of this side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from kotaro_bridge.domain.engine.engine_log import LogLine
    from kotaro_bridge.domain.model.download import DownloadView
    from kotaro_bridge.domain.model.hub import FetchJob, FetchMessage
    from kotaro_bridge.domain.model.model_files import FolderListing, StoredModel
    from kotaro_bridge.domain.model.model_stores import OllamaManifest
    from kotaro_bridge.domain.ports import EngineProcess, ProcessEvent


class ModelTarget(Protocol):
    """Model files of one target (a WSL distro, this machine)."""

    def listings(self, folders: Sequence[str]) -> tuple[str, tuple[FolderListing, ...]]:
        """Home folder of the target's user; the Hugging Face cache and the folders as they are now.

        Raises:
            ProblemError: the target cannot be reached.
        """

    def remove(self, root: str, paths: Sequence[str]) -> None:
        """Remove files and folders below `root`.

        Raises:
            ProblemError: `models.not_removed`, or the target cannot be reached.
        """

    def receive(self, path: str, size: int, sha256: str, chunks: Iterable[bytes]) -> bool:
        """Write a file of this side into the target, under its name only if it is right.

        Args:
            chunks: its content; not read where the file is there already.

        Returns:
            False if the very file was there already.

        Raises:
            ProblemError: `models.copy_*`, or the target cannot be reached.
        """

    def ask(self, question: FetchJob) -> FetchMessage:
        """A short question to the official client: the one answer to it.

        Raises:
            ProblemError: the target cannot be reached, or does not answer.
        """

    def fetch(
        self,
        run_id: str,
        job: FetchJob,
        on_line: Callable[[LogLine], None],
        on_event: Callable[[ProcessEvent], None],
    ) -> EngineProcess:
        """Start the transfer under the guardian; callbacks come from pump threads.

        Raises:
            ProblemError: the target cannot be reached.
        """


class ForeignStores(Protocol):
    """Model stores of other programs on this side. Read only."""

    def models(self) -> tuple[StoredModel, ...]:
        """What LM Studio and Ollama have; empty where they are not. Never raises."""

    def ollama(self) -> tuple[OllamaManifest, ...]:
        """Ollama's models whose manifests can be read."""

    def read(self, sha256: str, size: int) -> Iterable[bytes]:
        """The content of a blob of Ollama.

        Raises:
            ProblemError: `models.ollama_blob` if it is missing, unreadable or not as large as the manifest says.
        """


class TokenStore(Protocol):
    """The Hugging Face token, in the keyring of the operating system."""

    def get(self) -> str | None:
        """The token; None if there is none.

        Raises:
            ProblemError: `token.keyring`: there is no keyring, or it is locked.
        """

    def set(self, token: str) -> None:
        """Keep a token. Raises ProblemError as `get` does."""

    def forget(self) -> bool:
        """Forget it; False if there was none. Raises ProblemError as `get` does."""


class DownloadMemory(Protocol):
    """Downloads that are not done, over an end of the application. Never raises."""

    def load(self) -> tuple[DownloadView, ...]:
        """What was remembered last, all of it paused; empty if there is nothing."""

    def save(self, views: Sequence[DownloadView]) -> None:
        """Remember these and no others."""

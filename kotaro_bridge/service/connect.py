"""Requests as a chat client sends them, to the address that a ready model offers."""

from __future__ import annotations

from collections.abc import Iterator

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.ports_http import ChatPiece
from kotaro_bridge.domain.run.run_view import Endpoint
from kotaro_bridge.service.machine import Machine
from kotaro_bridge.service.supervisor import Supervisor

_QUESTION = "Say in one or two sentences what a GPU is good at."
_IMAGE_QUESTION = "What do you see in this picture? One sentence."


class Connect:
    """Sends test requests to running models."""

    def __init__(self, machine: Machine, supervisor: Supervisor) -> None:
        self._machine = machine
        self._supervisor = supervisor

    def test_chat(self, endpoint: Endpoint, *, with_image: bool) -> Iterator[ChatPiece]:
        """Stream a short answer; blocks between pieces.

        Raises:
            ProblemError: no model offers this address any more, or it does not answer as it should.
        """
        actor = next((a for a in self._supervisor.actors() if a.view.endpoint == endpoint), None)
        if actor is None:
            raise ProblemError(problem("connect.not_ready"))
        http = self._machine.http(actor.profile)
        try:
            yield from http.chat(endpoint.model, _IMAGE_QUESTION if with_image else _QUESTION, with_image=with_image)
        finally:
            http.close()

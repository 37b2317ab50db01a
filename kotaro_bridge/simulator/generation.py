"""What a simulated engine answers, and at which pace. No model runs: the words come from a table."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from typing import Any

ENGLISH = (
    "This answer comes from a simulated PC. No model is loaded here: the words are fixed, while the pace follows the "
    "memory bandwidth of the simulated card and the size of the model, as it would on a real one. Every generated "
    "token reads all weights once, so a card with twice the bandwidth answers about twice as fast, and a model of half "
    "the size does too. That is why a model that does not fit wholly into the memory of the card becomes so slow: the "
    "part that lies in system memory is read over a much narrower path, token by token. Kotaro Bridge watches that. "
)
JAPANESE = (
    "この回答はシミュレートされたPCから返されています。実際のモデルは読み込まれておらず、文章は固定ですが、"
    "生成の速さはカードのメモリ帯域とモデルの大きさから計算しています。1トークンを生成するたびに全ての重みを"
    "一度読むため、帯域が2倍のカードはおよそ2倍の速さで答えます。モデルがカードのメモリに収まりきらないと、"
    "はみ出した分は遅い経路で読むことになり、急に遅くなります。Kotaro Bridge はまさにそれを見張っています。"
)
IMAGE_ENGLISH = "I can see the image you attached: it is a picture, {kind}. "
IMAGE_JAPANESE = "添付された画像が見えます（{kind}）。"
PROMPT_SPEED = 30.0  # prompt tokens are processed that much faster than answers


class Prompt:
    """One chat request, as far as the simulation cares.

    Raises:
        ValueError: `messages` is missing.
    """

    def __init__(self, body: dict[str, Any], default_limit: int) -> None:
        messages = body.get("messages")
        if not isinstance(messages, list):
            raise ValueError("'messages' is required")
        texts: list[str] = []
        self.images: list[str] = []
        for message in messages:
            content = message.get("content") or ""
            parts: list[Any] = content if isinstance(content, list) else [{"type": "text", "text": content}]
            for part in parts:
                if part.get("type") == "image_url":
                    self.images.append(str(part["image_url"]["url"]))
                else:
                    texts.append(str(part.get("text", "")))
        self.text = " ".join(texts)
        self.tokens = 14 + len(self.text) // 4 + 64 * len(self.images)
        self.stream = bool(body.get("stream"))
        self.usage = bool((body.get("stream_options") or {}).get("include_usage"))
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or body.get("n_predict")
        self.limit = int(limit) if limit and int(limit) > 0 else default_limit
        self.forced = bool(body.get("ignore_eos"))

    def answer(self) -> Iterator[str]:
        """The tokens of the answer; without end where the request forbids one."""
        japanese = re.search("[\u3040-\u30ff\u4e00-\u9fff]", self.text) is not None
        text = JAPANESE if japanese else ENGLISH
        if self.images:
            kind = self.images[0].split(";")[0].removeprefix("data:")[:40]
            text = (IMAGE_JAPANESE if japanese else IMAGE_ENGLISH).format(kind=kind) + text
        pieces = re.findall(r"[A-Za-z']+ ?|.", text)
        count = 0
        while count < self.limit:
            yield from pieces[: self.limit - count]
            count += len(pieces)
            if not self.forced:
                return

    def finish_reason(self, produced: int) -> str:
        """`length` where the limit ended the answer."""
        return "length" if produced >= self.limit else "stop"


class Pace:
    """Waits so that tokens come at a rate, with a little life in it."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._started = time.monotonic()
        self._due = self._started

    def next(self) -> None:
        """Wait for the next token."""
        wave = 1 + 0.03 * math.sin((self._due - self._started) * 1.7)
        self._due += 1 / (self._rate * wave)
        delay = self._due - time.monotonic()
        if delay > 0:
            time.sleep(delay)

    @property
    def elapsed_s(self) -> float:
        return max(time.monotonic() - self._started, 1e-6)

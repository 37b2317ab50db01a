"""Events of one engine start, added up: the facts, and what of them the placement rules need.

Owns: the sums. Must not judge; in particular the dry run of llama-server's fit never gets in here (`placement` keeps it
apart). Sizes in bytes.
"""

from __future__ import annotations

from kotaro_bridge.domain.engine.engine_log import DeviceFacts, Event, EventKind, LogFacts
from kotaro_bridge.domain.engine.model_load import Buffers, ModelLoad, VisionLoad, is_gpu, is_host, is_pinned


class Evidence:
    """Takes events in the order of the log; every attribute stays None or empty until a line tells it."""

    def __init__(self) -> None:
        self.loads: list[ModelLoad] = []
        self.devices_used: list[str] = []
        self.devices_found: int | None = None
        self.layers: tuple[int, int] | None = None
        self.splits: int | None = None
        self.vision = False
        self.encoders: list[VisionLoad] = []
        self.ready = False
        self.starting = False
        self.engine_device: str | None = None
        self.cards: int | None = None
        self.engram_on_gpu = False
        self.version: str | None = None
        self.verbosity: int | None = None
        self.n_ctx: int | None = None
        self.n_ctx_slot: int | None = None
        self.n_parallel: int | None = None
        self.weights: int | None = None
        self.available_kv: int | None = None
        self.kv_tokens: int | None = None
        self._graphs: int | None = None
        self._unified: bool | None = None
        self._context_reduced: tuple[int, int] | None = None
        self._url: str | None = None
        self._buffers: dict[str, Buffers] = {}
        self._pinned: dict[EventKind, int] = {}

    @property
    def load(self) -> ModelLoad:
        """The model that is being loaded."""
        if not self.loads:
            self.loads.append(ModelLoad())
        return self.loads[-1]

    def add(self, event: Event) -> None:
        handler = _HANDLERS.get(event.kind)
        if handler:
            handler(self, event)

    @property
    def kv_total(self) -> int | None:
        """The engine's own sum over all caches."""
        totals = [load.kv_total for load in self.loads if load.kv_total is not None]
        return sum(totals) if totals else None

    def has_buffer(self, device: str, kind: str) -> bool:
        """Whether a buffer of this kind (`model`, `kv`, `compute`) that is not empty was logged for the device."""
        buffers = self._buffers.get(device)
        return bool(buffers and getattr(buffers, kind))

    @property
    def on_gpu(self) -> bool:
        """Some weights, KV cache or compute buffer is on a GPU."""
        return any(b.model or b.kv or b.compute for name, b in self._buffers.items() if is_gpu(name))

    @property
    def on_host(self) -> bool:
        return any(b.model or b.kv for name, b in self._buffers.items() if is_host(name))

    @property
    def compute_logged(self) -> bool:
        return any(b.compute for b in self._buffers.values())

    def facts(self, engine_max_len: int | None, error_lines: tuple[str, ...]) -> LogFacts:
        host = [b.model for name, b in self._buffers.items() if is_host(name) and b.model is not None]
        devices = {
            name: DeviceFacts(None if is_host(name) else b.model, b.kv, b.compute)
            for name, b in self._buffers.items()
            if not is_host(name) or b.kv is not None or (b.compute is not None and not is_pinned(name))
        }
        layers, layers_total = self.layers or (None, None)
        return LogFacts(
            devices=devices,
            devices_used=tuple(self.devices_used),
            host_model=sum(host) if host else None,
            pinned_host=sum(self._pinned.values()) if self._pinned else None,
            kv_total=self.kv_total,
            layers=layers,
            layers_total=layers_total,
            splits=self.splits,
            n_ctx=self.n_ctx if self.n_ctx is not None else self._n_ctx_of_slots(),
            n_ctx_slot=self.n_ctx_slot,
            n_parallel=self.n_parallel,
            context_reduced=self._context_reduced,
            version=self.version,
            verbosity=self.verbosity,
            url=self._url,
            weights=self.weights,
            available_kv=self.available_kv,
            kv_tokens=self.kv_tokens,
            graphs=self._graphs,
            engine_max_len=engine_max_len,
            error_lines=error_lines,
        )

    def _n_ctx_of_slots(self) -> int | None:
        """At the default verbosity only the slots line tells: a unified cache is shared, others are one per slot."""
        if self.n_ctx_slot is None or self.n_parallel is None or self._unified is None:
            return None
        return self.n_ctx_slot if self._unified else self.n_ctx_slot * self.n_parallel

    # -- one handler per kind of event ------------------------------------------------------------------------------

    def _version(self, event: Event) -> None:
        self.version = self.version or event.text("version")
        self._options(event)

    def _options(self, event: Event) -> None:
        if "device" in event.values:
            self.engine_device = event.text("device")
        if "cards" in event.values:
            self.cards = event.number("cards")
        if "n_ctx" in event.values:
            self.n_ctx = event.number("n_ctx")
        self.engram_on_gpu = self.engram_on_gpu or "engram" in event.values

    def _is_ready(self, event: Event) -> None:
        self.ready = True
        if "url" in event.values:
            self._url = event.text("url")

    def _is_starting(self, event: Event) -> None:
        self.starting = True
        self._url = event.text("url")

    def _device_used(self, event: Event) -> None:
        if event.text("device") not in self.devices_used:
            self.devices_used.append(event.text("device"))

    def _devices_found(self, event: Event) -> None:
        self.devices_found = event.number("devices")

    def _model_start(self, _event: Event) -> None:
        self.loads.append(ModelLoad())

    def _dimension(self, event: Event) -> None:
        self.load.dimensions[event.text("key")] = event.number("value")

    def _per_layer(self, event: Event) -> None:
        self.load.per_layer_width = event.number("width")

    def _tensor_type(self, event: Event) -> None:
        self.load.types.add(event.text("type"))

    def _file_size(self, event: Event) -> None:
        self.load.file_bytes = event.number("size_bytes")

    def _unused(self, event: Event) -> None:
        self.load.unused_bytes += event.number("size_bytes")

    def _offloaded(self, event: Event) -> None:
        found = (event.number("layers"), event.number("total"))
        # Of a model and its draft the one that is further from whole is the answer.
        if self.layers is None or found[1] - found[0] > self.layers[1] - self.layers[0]:
            self.layers = found

    def _model_buffer(self, event: Event) -> None:
        device, size = event.text("device"), event.number("size_bytes")
        buffers = self._of(device)
        buffers.model = (buffers.model or 0) + size
        if is_gpu(device):
            self.load.gpu_bytes += size
        elif is_host(device):
            self.load.host_bytes += size
            self.load.host_lines += 1
        self._pin(event)

    def _kv_buffer(self, event: Event) -> None:
        device, size = event.text("device"), event.number("size_bytes")
        buffers = self._of(device)
        buffers.kv = (buffers.kv or 0) + size
        if is_gpu(device):
            self.load.kv_bytes += size
            self.load.kv_lines += 1

    def _kv_sum(self, event: Event) -> None:
        self.load.kv_total = (self.load.kv_total or 0) + event.number("size_bytes")
        self.load.caches += 1
        self.load.states += "state" in event.values

    def _kv_announced(self, _event: Event) -> None:
        self.load.caches_announced += 1

    def _compute(self, event: Event) -> None:
        buffers = self._of(event.text("device"))
        # The scheduler may reserve again, which replaces the buffer.
        buffers.compute = max(buffers.compute or 0, event.number("size_bytes"))
        self._pin(event)

    def _pin(self, event: Event) -> None:
        if is_pinned(event.text("device")):
            self._pinned[event.kind] = max(self._pinned.get(event.kind, 0), event.number("size_bytes"))

    def _splits(self, event: Event) -> None:
        self.splits = max(self.splits or 0, event.number("splits"), int(event.values.get("splits_tg", 0)))

    def _context(self, event: Event) -> None:
        if self.n_ctx is None:  # a draft model's context comes second
            self.n_ctx = event.number("n_ctx")

    def _slots(self, event: Event) -> None:
        self.n_parallel, self.n_ctx_slot = event.number("slots"), event.number("n_ctx")
        unified = event.values.get("unified")
        self._unified = None if unified is None else unified == "true"

    def _reduced(self, event: Event) -> None:
        self._context_reduced = (event.number("from"), event.number("to"))
        if self.n_ctx is not None:  # vLLM has printed the longer one before
            self.n_ctx = event.number("to")

    def _multimodal(self, _event: Event) -> None:
        self.vision = True

    @property
    def encoder(self) -> VisionLoad:
        """The vision encoder that is being loaded."""
        if not self.encoders:
            self.encoders.append(VisionLoad(""))
        return self.encoders[-1]

    def _clip(self, event: Event) -> None:
        self.encoders.append(VisionLoad(event.text("device")))

    def _clip_size(self, event: Event) -> None:
        self.encoder.file_bytes = event.number("size_bytes")

    def _clip_compute(self, event: Event) -> None:
        if is_gpu(event.text("device")):
            self.encoder.gpu_compute = event.number("size_bytes")
        self._pin(event)

    def _clip_graph(self, event: Event) -> None:
        self.encoder.splits, self.encoder.splits_line = event.number("splits"), event.line

    def _weights(self, event: Event) -> None:
        self.weights = max(self._of_workers(event, "model"))

    def _kv_free(self, event: Event) -> None:
        self.available_kv = min(self._of_workers(event, "kv"))  # each card gets as many blocks as the fullest can hold

    def _of_workers(self, event: Event, kind: str) -> list[int]:
        """This figure and those of the other cards' workers, where each has its own (tensor parallel). Versions that
        log once have only the first one's.
        """
        size = event.number("size_bytes")
        if "rank" not in event.values:
            return [size]
        setattr(self._of(f"CUDA{event.number('rank')}"), kind, size)
        return [found for buffers in self._buffers.values() if (found := getattr(buffers, kind)) is not None]

    def _kv_capacity(self, event: Event) -> None:
        self.kv_tokens = event.number("tokens")

    def _graph_memory(self, event: Event) -> None:
        self._graphs = max(self._of_workers(event, "compute"))

    def _level(self, event: Event) -> None:
        self.verbosity = event.number("level")

    def _of(self, device: str) -> Buffers:
        return self._buffers.setdefault(device, Buffers())


K = EventKind
_HANDLERS = {
    K.VERSION: Evidence._version,
    K.OPTIONS: Evidence._options,
    K.VERBOSITY: Evidence._level,
    K.READY: Evidence._is_ready,
    K.STARTING: Evidence._is_starting,
    K.DEVICE_USED: Evidence._device_used,
    K.DEVICES_FOUND: Evidence._devices_found,
    K.MODEL_START: Evidence._model_start,
    K.MODEL_DIMENSION: Evidence._dimension,
    K.PER_LAYER_EMBEDDING: Evidence._per_layer,
    K.TENSOR_TYPE: Evidence._tensor_type,
    K.FILE_SIZE: Evidence._file_size,
    K.UNUSED_TENSOR: Evidence._unused,
    K.OFFLOADED: Evidence._offloaded,
    K.MODEL_BUFFER: Evidence._model_buffer,
    K.KV_BUFFER: Evidence._kv_buffer,
    K.KV_TOTAL: Evidence._kv_sum,
    K.KV_ANNOUNCED: Evidence._kv_announced,
    K.COMPUTE_BUFFER: Evidence._compute,
    K.OUTPUT_BUFFER: Evidence._pin,
    K.SPLITS: Evidence._splits,
    K.CONTEXT: Evidence._context,
    K.SLOTS: Evidence._slots,
    K.CONTEXT_REDUCED: Evidence._reduced,
    K.MULTIMODAL: Evidence._multimodal,
    K.CLIP_BACKEND: Evidence._clip,
    K.CLIP_SIZE: Evidence._clip_size,
    K.CLIP_COMPUTE: Evidence._clip_compute,
    K.CLIP_SPLITS: Evidence._clip_graph,
    K.WEIGHTS: Evidence._weights,
    K.KV_AVAILABLE: Evidence._kv_free,
    K.KV_TOKENS: Evidence._kv_capacity,
    K.GRAPHS: Evidence._graph_memory,
}

"""Whether a GGUF model can be what its header says, once all its files were read.

Owns the rule that a model has weights and keeps something of what it reads. A header without them would be planned as
one that takes nothing, and "fit" any card.
"""

from __future__ import annotations

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.gguf import GgufModel
from kotaro_bridge.domain.model.kv_cache import keeps_nothing


def check_gguf(model: GgufModel) -> GgufModel:
    """The model itself.

    Raises:
        ProblemError: `model.broken` (`what`: no tensors, or no attention heads in an architecture that has no layers
            without them; `offset`: where the header ends).
    """
    if not model.weights_total:
        raise _broken(model, "tensors")
    if keeps_nothing(model):
        raise _broken(model, f"{model.architecture}.attention.head_count")
    return model


def _broken(model: GgufModel, what: str) -> ProblemError:
    return ProblemError(problem("model.broken", what=what, offset=model.data_offset))

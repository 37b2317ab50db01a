"""One way for a model to leave the GPU, as a row of `escape_routes`, and the tests that rows name.

Owns the form of a row, and nothing of the rules that it names.
"""

from __future__ import annotations

from dataclasses import dataclass

from kotaro_bridge.domain.engine.engine_log import Engine


@dataclass(frozen=True, slots=True)
class Route:
    """One way.

    Args:
        how, how_ja: how it happens, in a few words of Markdown.
        refused: extra arguments of a profile that are refused by name, as they would be written.
        passed: arguments that every command of ours carries, so that the way is closed or leaves a trace.
        unset: patterns of variables that an engine does not inherit.
        given: variables that we give the engine.
        detected: codes of the problems and checks that tell of it.
        tests: the tests that show it (`file::function`).
        harmless: it holds copies in system memory, but no part of the model leaves the GPU.
    """

    number: int
    engines: tuple[Engine, ...]
    how: str
    how_ja: str
    source: str
    tests: tuple[str, ...]
    refused: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    detected: tuple[str, ...] = ()
    harmless: bool = False


LLAMA = (Engine.LLAMA_SERVER,)
VLLM = (Engine.VLLM,)
BOTH = (Engine.LLAMA_SERVER, Engine.VLLM)

UNIT = "tests/unit/domain"
ARGS_LLAMA = f"{UNIT}/test_arguments.py::test_llama_server_every_spelling_has_its_reason"
ARGS_VLLM = f"{UNIT}/test_arguments.py::test_vllm_every_spelling_has_its_reason"
ARGS_OTHER = f"{UNIT}/test_arguments.py::test_what_is_not_on_the_list_is_refused"
COMMAND = f"{UNIT}/test_command.py::test_llama_server_is_told_to_fail_rather_than_use_the_cpu"
SCRUBBED = "tests/e2e/test_real_engine_surroundings.py::test_no_variable_that_moves_a_model_reaches_the_engine"
CONFIG = "tests/e2e/test_real_engine_surroundings.py::test_a_configuration_file_of_the_user_has_no_effect"
HELP = "tests/e2e/test_real_engine_help.py::test_every_option_that_moves_memory_is_refused_with_its_reason"
CAPTURES = f"{UNIT}/test_captures.py::test_llama_server_recording"
LINE = f"{UNIT}/test_placement.py::test_a_disqualifying_line_is_raised_at_once_and_decides"
ABSENT = f"{UNIT}/test_placement.py::test_a_needed_line_that_is_absent_leaves_unknown"
SUMS = f"{UNIT}/test_placement.py::test_evidence_that_does_not_add_up_leaves_unknown"
VLLM_LINE = f"{UNIT}/test_placement_vllm.py::test_a_way_off_the_gpu"
CPU_ENGINE = "tests/e2e/test_real_engine_refused.py::test_a_server_that_slips_onto_the_cpu_is_caught_and_stopped"
GPU = "tests/gpu/test_off_the_gpu.py::test_a_model_that_leaves_the_gpu_is_stopped"
GPU_UNIFIED = "tests/gpu/test_off_the_gpu.py::test_unified_memory_is_stopped"
GPU_HIDDEN = "tests/gpu/test_off_the_gpu.py::test_a_hidden_card_is_refused_by_the_engines_own_list"
GPU_SHORT = "tests/gpu/test_off_the_gpu.py::test_vram_that_is_taken_behind_the_gates_back"
GPU_TWO_CARDS = "tests/gpu/test_two_cards.py::test_a_wrapper_that_leaves_a_card_out_is_stopped"
GPU_CLEAN = "tests/gpu/test_run_local.py::test_what_lies_around_a_start_does_not_move_the_model"
GPU_VISION = "tests/gpu/test_vision.py::test_a_projector_on_the_cpu_is_stopped"
TWO_CARDS = "tests/e2e/test_two_cards.py::test_an_engine_that_leaves_a_card_out_is_stopped"
SPILL = "tests/unit/service/test_prover.py::test_shared_memory_may_rise_by_the_pinned_buffers_and_an_allowance"
WATCH = "tests/unit/service/test_telemetry.py::test_a_spill_over_three_samples_ends_the_run"
AS_ASKED = "tests/unit/service/test_prover.py::test_a_server_that_is_not_as_asked_is_no_proof"

"""What an answer of the driver means: a fact, an absent fact, an oddity, or a lost GPU."""

import pynvml
import pytest

from agent.discovery.faults import Questions, translated
from agent.discovery.gpus import parse_address
from agent.model.errors import HardwareError, NoDriverError


def answering(code):
    def call():
        raise pynvml.NVMLError(code)

    return call


def test_a_fact_is_returned():
    questions = Questions()

    assert questions.ask(lambda: 7) == 7
    assert questions.oddities == []


@pytest.mark.parametrize(
    "code",
    [
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_NO_PERMISSION,
    ],
)
def test_an_absent_fact_is_nothing_to_speak_of(code):
    questions = Questions()

    assert questions.ask(answering(code)) is None
    assert questions.oddities == []


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_UNKNOWN, pynvml.NVML_ERROR_CORRUPTED_INFOROM])
def test_an_odd_answer_costs_the_fact_and_not_the_gpu(code):
    questions = Questions()

    assert questions.ask(answering(code)) is None
    assert len(questions.oddities) == 1


@pytest.mark.parametrize(
    "code", [pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_DRIVER_NOT_LOADED]
)
def test_a_lost_gpu_is_asked_nothing_more(code):
    with pytest.raises(pynvml.NVMLError):
        Questions().ask(answering(code))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, NoDriverError),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, NoDriverError),
        (pynvml.NVML_ERROR_UNKNOWN, HardwareError),
    ],
)
def test_the_drivers_codes_become_our_errors_with_what_was_tried(code, kind):
    with pytest.raises(kind, match=r"^counting GPUs: ") as caught, translated("counting GPUs"):
        answering(code)()

    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("bus_id", "address"),
    [
        ("00000000:1B:00.0", "0000:1b:00.0"),
        (b"0000:C3:00.0", "0000:c3:00.0"),
        # Intel VMD puts devices in domains above ffff.
        ("00010000:01:00.0", "10000:01:00.0"),
    ],
)
def test_bus_ids_become_the_names_of_sysfs(bus_id, address):
    assert parse_address(bus_id) == address

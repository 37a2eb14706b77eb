"""Whatever a claim carries, reading it ends with an answer or with an error of the claim."""

import json
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from agent.model.errors import ClaimError
from agent.planning.claim_config import Asked, read_usages
from agent.planning.claim_parameters import ConfigKind, read_parameters
from agent.planning.claim_usage import Usage
from agent.planning.quantity import read_quantity

DRIVER = "gpu.nvidia.com"
# Words that lead further into a document than arbitrary ones.
WORDS = [
    "apiVersion",
    "kind",
    "sharing",
    "strategy",
    "timeSlicingConfig",
    "mpsConfig",
    "interval",
    "multiUser",
    "defaultActiveThreadPercentage",
    "defaultPinnedDeviceMemoryLimit",
    "defaultPerDevicePinnedMemoryLimit",
]
VALUES = [
    "resource.nvidia.com/v1beta1",
    "GpuConfig",
    "MigDeviceConfig",
    "TimeSlicing",
    "MPS",
    "Default",
    "Long",
    "10Gi",
    "0",
]
TEXT = st.sampled_from(VALUES) | st.text(st.characters(), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS) | TEXT, inner, max_size=5)
    ),
    max_leaves=15,
)
# Mostly right, so that what is wrong lies deep.
NEARLY = st.fixed_dictionaries(
    {
        "apiVersion": st.just("resource.nvidia.com/v1beta1"),
        "kind": st.sampled_from(ConfigKind),
    },
    optional={
        "sharing": JSON
        | st.fixed_dictionaries(
            {"strategy": st.sampled_from(["TimeSlicing", "MPS"])},
            optional={"timeSlicingConfig": JSON, "mpsConfig": JSON},
        )
    },
)
REQUESTS = st.lists(st.sampled_from(["a", "b", "a/x", "b/y"]), max_size=2)
CONFIGS = st.lists(
    JSON
    | st.fixed_dictionaries(
        {
            "source": st.sampled_from(["FromClass", "FromClaim"]) | JSON,
            "opaque": JSON
            | st.fixed_dictionaries({"driver": st.just(DRIVER), "parameters": NEARLY | JSON}),
        },
        optional={"requests": REQUESTS | JSON},
    ),
    max_size=4,
)
DEVICES = st.lists(
    st.builds(
        Asked, request=st.sampled_from(["a", "b", "a/x", "b/y"]), kind=st.sampled_from(ConfigKind)
    ),
    max_size=4,
)


@given(NEARLY | JSON)
def test_a_document_is_read_or_refused(document):
    try:
        usage = read_parameters(document, "p").usage
    except ClaimError as error:
        # Something that the kubelet can be told.
        str(error).encode()
    else:
        assert isinstance(usage, Usage)
        assert usage.time_slice is None or usage.mps is None


@given(CONFIGS | JSON, DEVICES)
def test_the_configurations_of_a_claim_are_read_or_refused(configs, devices):
    document = {"status": {"allocation": {"devices": {"config": configs}}}}
    try:
        usages = read_usages(document, DRIVER, devices)
    except ClaimError as error:
        str(error).encode()
    else:
        assert len(usages) == len(devices)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3)), max_size=6))
def test_the_last_of_the_claim_else_the_last_of_the_class_holds(entries):
    intervals = {1: "Short", 2: "Medium", 3: "Long"}
    configs = [
        {
            "source": "FromClass" if of_class else "FromClaim",
            "opaque": {
                "driver": DRIVER,
                "parameters": json.loads(
                    '{"apiVersion": "resource.nvidia.com/v1beta1", "kind": "GpuConfig", "sharing":'
                    ' {"strategy": "TimeSlicing", "timeSlicingConfig": {"interval":'
                    f' "{intervals[number]}"}}}}}}'
                ),
            },
        }
        for of_class, number in entries
    ]
    of_claim = [number for of_class, number in entries if not of_class]
    ranked = of_claim or [number for _, number in entries]
    document = {"status": {"allocation": {"devices": {"config": configs}}}}

    (usage,) = read_usages(document, DRIVER, [Asked(request="a", kind=ConfigKind.GPU)])

    expected = intervals[ranked[-1]].lower() if ranked else None
    assert usage.time_slice == expected


@given(
    st.integers(0, 10**6),
    st.integers(0, 999),
    st.sampled_from(["", "k", "M", "G", "Ki", "Mi", "Gi", "m"]),
)
def test_a_quantity_is_what_its_digits_and_its_suffix_say(whole, part, suffix):
    factor = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "m": Fraction(1, 1000)}.get(
        suffix, Fraction(2) ** {"Ki": 10, "Mi": 20, "Gi": 30}.get(suffix, 0)
    )
    exact = Fraction(f"{whole}.{part:03}") * factor

    assert read_quantity(f"{whole}.{part:03}{suffix}") == -(-exact.numerator // exact.denominator)

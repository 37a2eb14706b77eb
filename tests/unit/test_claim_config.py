"""Configurations that claims carry: what they say, what is wrong with them, which one holds."""

import pytest

from agent.config.sharing import TimeSlice
from agent.model.errors import ClaimError
from agent.planning.claim_config import Asked, read_usages
from agent.planning.claim_parameters import ConfigKind, DeviceConfig, read_parameters
from agent.planning.claim_usage import AS_IT_IS, MpsUsage, Usage, claim_set
from agent.planning.mps import Limits
from agent.planning.quantity import read_quantity

DRIVER = "gpu.nvidia.com"
GPU, MIG = ConfigKind.GPU, ConfigKind.MIG
LONG, SHORT = Usage(time_slice=TimeSlice.LONG), Usage(time_slice=TimeSlice.SHORT)


def config(kind="GpuConfig", **sharing):
    document = {"apiVersion": "resource.nvidia.com/v1beta1", "kind": kind}
    return {**document, "sharing": sharing} if sharing else document


def turns(interval, kind="GpuConfig"):
    if kind == "MigDeviceConfig":
        return config(kind, strategy="TimeSlicing")
    return config(kind, strategy="TimeSlicing", timeSlicingConfig={"interval": interval})


def mps(**fields):
    return config(strategy="MPS", mpsConfig=fields)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (config(), AS_IT_IS),
        ({**config(), "sharing": None}, AS_IT_IS),
        (turns("Default"), AS_IT_IS),
        (turns("Short"), SHORT),
        (turns("Medium"), Usage(time_slice=TimeSlice.MEDIUM)),
        (turns("Long"), LONG),
        # An empty object, which makes another driver crash.
        (config(strategy="TimeSlicing", timeSlicingConfig={}), AS_IT_IS),
        (config(strategy="TimeSlicing", timeSlicingConfig={"interval": None}), AS_IT_IS),
        (config(strategy="TimeSlicing", timeSlicingConfig=None, mpsConfig=None), AS_IT_IS),
        (config(strategy="TimeSlicing"), AS_IT_IS),
        (config(strategy="MPS"), Usage(mps=MpsUsage())),
        (mps(), Usage(mps=MpsUsage())),
        (
            mps(
                defaultActiveThreadPercentage=50,
                defaultPinnedDeviceMemoryLimit="10Gi",
                defaultPerDevicePinnedMemoryLimit={"0": "500M", "GPU-1": 2**30},
                multiUser=True,
            ),
            Usage(
                mps=MpsUsage(
                    threads_percent=50,
                    memory_mib=10240,
                    memory_mib_of={"0": 476, "GPU-1": 1024},
                    multi_user=True,
                )
            ),
        ),
        (mps(defaultActiveThreadPercentage=0), Usage(mps=MpsUsage(threads_percent=0))),
        (mps(defaultActiveThreadPercentage=100), Usage(mps=MpsUsage(threads_percent=100))),
    ],
)
def test_a_gpu_config_says_how_a_gpu_is_used(document, expected):
    assert read_parameters(document, "p") == DeviceConfig(kind=GPU, usage=expected)


def test_turns_of_a_mig_instance_are_taken_and_change_nothing():
    assert read_parameters(config("MigDeviceConfig", strategy="TimeSlicing"), "p") == DeviceConfig(
        kind=MIG, usage=AS_IT_IS
    )
    by_mps = config("MigDeviceConfig", strategy="MPS", mpsConfig={"multiUser": False})
    assert read_parameters(by_mps, "p").usage == Usage(mps=MpsUsage())


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (None, "p: nothing is not a mapping"),
        ([], "p: a list is not a mapping"),
        ({}, "p.apiVersion: it is missing; expected resource.nvidia.com/v1beta1"),
        (
            {**config(), "apiVersion": "gpu.resource.nvidia.com/v1alpha1"},
            (
                "p.apiVersion: 'gpu.resource.nvidia.com/v1alpha1' is none of: resource.nvidia.com/"
                "v1beta1; did you mean resource.nvidia.com/v1beta1?"
            ),
        ),
        (
            {**config(), "kind": "GPUConfig"},
            "p.kind: 'GPUConfig' is none of: GpuConfig, MigDeviceConfig; did you mean GpuConfig?",
        ),
        (
            {**config(), "kind": "VfioDeviceConfig"},
            (
                "p.kind: VfioDeviceConfig is a kind of NVIDIA's that this agent does not serve; it"
                " serves GpuConfig, MigDeviceConfig"
            ),
        ),
        (
            {**config(), "shareing": {}},
            "p: unknown key 'shareing'; did you mean sharing? (known: apiVersion, kind, sharing)",
        ),
        ({**config(), "sharing": 3}, "p.sharing: 3 is not a mapping"),
        (
            config(mpsConfig={}),
            "p.sharing.strategy: it is missing; expected TimeSlicing, MPS",
        ),
        (
            config(strategy="mps"),
            "p.sharing.strategy: 'mps' is none of: TimeSlicing, MPS; did you mean MPS?",
        ),
        (
            config(strategy="MPS", timeSlicingConfig={}),
            (
                "p.sharing.timeSlicingConfig: strategy MPS does not go with it; leave it out, or"
                " make the strategy TimeSlicing"
            ),
        ),
        (
            config(strategy="TimeSlicing", mpsConfig={}),
            (
                "p.sharing.mpsConfig: strategy TimeSlicing does not go with it; leave it out, or"
                " make the strategy MPS"
            ),
        ),
        (
            config("MigDeviceConfig", strategy="TimeSlicing", timeSlicingConfig={}),
            "p.sharing.timeSlicingConfig: a MIG instance has no time slices; leave it out",
        ),
        (
            turns("Longer"),
            (
                "p.sharing.timeSlicingConfig.interval: 'Longer' is none of: Default, Short, Medium,"
                " Long; did you mean Long?"
            ),
        ),
        (
            turns(3),
            "p.sharing.timeSlicingConfig.interval: 3 is none of: Default, Short, Medium, Long",
        ),
        (
            mps(defaultActiveThreadPercentage=101),
            (
                "p.sharing.mpsConfig.defaultActiveThreadPercentage: 101 is not a whole number from"
                " 0 to 100"
            ),
        ),
        (
            mps(defaultActiveThreadPercentage=True),
            (
                "p.sharing.mpsConfig.defaultActiveThreadPercentage: true is not a whole number from"
                " 0 to 100"
            ),
        ),
        (
            mps(defaultPinnedDeviceMemoryLimit="10GB"),
            (
                "p.sharing.mpsConfig.defaultPinnedDeviceMemoryLimit: '10GB' is no quantity, such as"
                " 10Gi or 500M"
            ),
        ),
        (
            mps(defaultPinnedDeviceMemoryLimit="-1Gi"),
            "p.sharing.mpsConfig.defaultPinnedDeviceMemoryLimit: '-1Gi' is less than 1Mi",
        ),
        (
            mps(defaultPerDevicePinnedMemoryLimit={"0": "many"}),
            (
                "p.sharing.mpsConfig.defaultPerDevicePinnedMemoryLimit['0']: 'many' is no quantity,"
                " such as 10Gi or 500M"
            ),
        ),
        (mps(multiUser="yes"), "p.sharing.mpsConfig.multiUser: 'yes' is neither true nor false"),
        (
            mps(multiuser=True),
            (
                "p.sharing.mpsConfig: unknown key 'multiuser'; did you mean multiUser? (known:"
                " defaultActiveThreadPercentage, defaultPinnedDeviceMemoryLimit,"
                " defaultPerDevicePinnedMemoryLimit, multiUser)"
            ),
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_path_and_what_was_meant(document, said):
    with pytest.raises(ClaimError) as caught:
        read_parameters(document, "p")

    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        (1024, 1024),
        ("10Gi", 10 * 2**30),
        ("1.5G", 1_500_000_000),
        ("2e3", 2000),
        ("2E", 2 * 10**18),
        (".5Ki", 512),
        ("1500m", 2),
        ("-1k", -1000),
        ("8Ei", None),
        ("1e99", None),
        ("", None),
        ("1 Gi", None),
        ("1gi", None),
        ("1" * 65, None),
        (True, None),
        (float("inf"), None),
        ([], None),
    ],
)
def test_quantities_are_those_of_kubernetes(text, expected):
    assert read_quantity(text) == expected


def opaque(parameters, *requests, source="FromClaim", driver=DRIVER):
    return {
        "source": source,
        "requests": list(requests),
        "opaque": {"driver": driver, "parameters": parameters},
    }


def claim(*configs):
    return {"status": {"allocation": {"devices": {"config": list(configs)}}}}


def usages(configs, *devices):
    asked = [Asked(request=request, kind=kind) for request, kind in devices]
    return read_usages(claim(*configs), DRIVER, asked)


@pytest.mark.parametrize("document", [{}, {"status": None}, claim(), {"status": {}}])
def test_a_claim_without_configurations_leaves_devices_as_they_are(document):
    assert read_usages(document, DRIVER, [Asked(request="r", kind=GPU)]) == (AS_IT_IS,)


def test_those_of_the_claim_count_more_than_those_of_the_class_and_later_ones_more():
    of_class = opaque(turns("Short"), "r", source="FromClass")
    of_claim = opaque(turns("Long"))
    medium = opaque(turns("Medium"), "r")

    assert usages([of_class], ("r", GPU)) == (SHORT,)
    assert usages([of_class, of_claim], ("r", GPU)) == (LONG,)
    assert usages([of_claim, of_class], ("r", GPU)) == (LONG,)
    assert usages([medium, of_claim], ("r", GPU)) == (LONG,)


def test_one_configuration_holds_and_is_merged_with_no_other():
    half = opaque(mps(defaultActiveThreadPercentage=50))
    some = opaque(mps(defaultPinnedDeviceMemoryLimit="1Gi"))

    assert usages([half, some], ("r", GPU)) == (Usage(mps=MpsUsage(memory_mib=1024)),)
    assert usages([half, opaque(config())], ("r", GPU)) == (AS_IT_IS,)


def test_a_configuration_holds_for_the_requests_that_it_names():
    long, short = opaque(turns("Long"), "a"), opaque(turns("Short"), "b/second")

    found = usages([long, short], ("a", GPU), ("b/first", GPU), ("b/second", GPU), ("ab", GPU))

    assert found == (LONG, AS_IT_IS, SHORT, AS_IT_IS)


@pytest.mark.parametrize(("named", "holds"), [("b", True), ("b/x", True), ("b/y", False)])
def test_a_main_request_is_named_with_whatever_it_became(named, holds):
    assert usages([opaque(turns("Long"), named)], ("b/x", GPU)) == ((LONG if holds else AS_IT_IS),)


def test_without_names_it_holds_where_the_kind_fits():
    both = [opaque(turns("Long")), opaque(config("MigDeviceConfig", strategy="MPS"))]

    assert usages(both, ("a", GPU), ("b", MIG)) == (LONG, Usage(mps=MpsUsage()))


def test_naming_a_request_for_a_device_of_another_kind_is_an_error():
    with pytest.raises(ClaimError) as caught:
        usages([opaque(turns("Long")), opaque(config("MigDeviceConfig"), "a")], ("a", GPU))

    assert str(caught.value) == (
        "status.allocation.devices.config[1]: a MigDeviceConfig names request 'a', whose device is"
        " a GPU; make it a GpuConfig, or name another request"
    )


def test_configurations_of_other_drivers_are_left_alone():
    foreign = [
        opaque({"anything": 1}, driver="dra.net"),
        opaque(None, source="nobody", driver="compute-domain.nvidia.com"),
        {"source": "FromClaim"},
    ]

    assert usages(foreign, ("a", GPU)) == (AS_IT_IS,)


def test_the_path_leads_to_the_configuration():
    with pytest.raises(ClaimError, match=r"config\[1\]\.opaque\.parameters\.kind: it is missing"):
        usages(
            [
                opaque({}, driver="dra.net"),
                opaque({"apiVersion": "resource.nvidia.com/v1beta1"}),
            ],
            ("a", GPU),
        )


def test_limits_are_told_by_the_place_among_the_devices_of_the_daemon():
    usage = MpsUsage(threads_percent=30, memory_mib=10, memory_mib_of={"GPU-b": 20, "2": 30})

    found = claim_set("claim-u", ("GPU-a", "GPU-b", "GPU-c"), usage)

    assert found.limits == tuple(Limits(memory_mib=n, threads_percent=30) for n in (10, 20, 30))
    assert found.exclusive == found.gpus == ("GPU-a", "GPU-b", "GPU-c")
    unlimited = claim_set("claim-u", ("MIG-a",), MpsUsage())
    assert unlimited.limits == (Limits(memory_mib=None, threads_percent=100),)
    assert unlimited.exclusive == ()


@pytest.mark.parametrize(
    ("devices", "limits", "said"),
    [
        (("GPU-a",), {"1": 5}, r"'1' is no device of the claim, which has 0 \(GPU-a\)"),
        (("GPU-a",), {"GPU-b": 5}, "'GPU-b' is no device of the claim"),
        (("GPU-a",), {"GPU-a": 5, "0": 6}, "GPU-a has two limits"),
        (("MIG-a", "MIG-b"), {}, "MPS serves GPUs, or one MIG instance"),
        (("MIG-a", "GPU-b"), {}, "MPS serves GPUs, or one MIG instance"),
    ],
)
def test_what_one_daemon_cannot_do_is_refused(devices, limits, said):
    with pytest.raises(ClaimError, match=said):
        claim_set("claim-u", devices, MpsUsage(memory_mib_of=limits))

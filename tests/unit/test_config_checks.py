"""What may not be combined, what is not built yet, and the sections that wait for it."""

import msgspec
import pytest

from agent.config.checks import NOT_YET, find_clashes
from agent.config.document import read_document
from agent.config.flags import resolve
from agent.config.own import PlacementPolicy, PlacementRules, ResourcePolicy
from agent.config.schema import Config
from agent.config.sharing import Mps, MpsResource, TimeSlicedResource, TimeSlicing, full_name
from agent.config.tree import leaves
from agent.config.xids import ignored_xids
from agent.model.errors import ConfigError

SHARED = "{resources: [{name: nvidia.com/gpu, replicas: 4}]}"


def read(text):
    """What a file says, with its problems as lines."""
    reading = read_document(text, "c.yaml")
    return {path: found.value for path, found in reading.found.items()}, [
        str(problem) for problem in reading.problems
    ]


def clashes(**values):
    """Clashes of a default configuration with some settings changed, by path."""
    config = Config()
    for path, value in values.items():
        config = _changed(config, path.split("__"), value)
    return [f"{clash.path} {clash.message}" for clash in find_clashes(config)]


def _changed(section, path, value):
    head, *rest = path
    inner = _changed(getattr(section, head), rest, value) if rest else value
    return msgspec.structs.replace(section, **{head: inner})


def shared(*names, replicas=4):
    return TimeSlicing(
        resources=tuple(TimeSlicedResource(name=name, replicas=replicas) for name in names)
    )


def by_mps(**entry):
    return Mps(resources=(MpsResource(name="gpu", **entry),))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("flags: {deviceDiscoveryStrategy: tegra}", "flags.deviceDiscoveryStrategy"),
        ("flags: {deviceDiscoveryStrategy: vfio}", "flags.deviceDiscoveryStrategy"),
        ("imex: {channelIDs: [0]}", "imex.channelIDs"),
        ("plumbline: {cdi: {featureFlags: [x]}}", "plumbline.cdi.featureFlags"),
    ],
)
def test_what_is_understood_but_not_built_is_refused(tmp_path, text, path):
    file = tmp_path / "c.yaml"
    file.write_text(text)

    with pytest.raises(ConfigError) as caught:
        resolve(["--config", str(file)], {})

    message = str(caught.value)
    assert message.startswith(f"{file}:1: {path}: is not supported yet; ")


def test_each_row_of_what_is_not_built_names_a_setting_and_lets_its_default_pass():
    assert {row.path for row in NOT_YET} <= set(leaves())
    assert not any(row.asks(Config()) for row in NOT_YET)


def test_feature_discovery_is_read_and_does_nothing(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("flags: {useNodeFeatureAPI: false, gfd: {oneshot: true, noTimestamp: true}}")

    flags = resolve(["--config", str(file)], {}).config.flags

    assert (flags.use_node_feature_api, flags.gfd.oneshot) == (False, True)


def test_two_ways_of_sharing_exclude_each_other():
    both = clashes(sharing__time_slicing=shared("gpu"), sharing__mps=by_mps(replicas=2))

    assert "sharing.mps cannot be combined with sharing.timeSlicing; keep one of the two" in both


def test_mps_serves_so_many_clients_and_weighs_each():
    assert clashes(sharing__mps=by_mps(replicas=60)) == []
    assert clashes(sharing__mps=by_mps(replicas=61)) == [
        "sharing.mps.resources[0].replicas 61 is more than MPS serves; at most 60"
    ]
    assert clashes(sharing__mps=by_mps(replicas=3, weights=(4, 2))) == [
        (
            "sharing.mps.resources[0].weights has 2 entries, and there are 3 replicas; write one"
            " weight for each"
        )
    ]


@pytest.mark.parametrize(("one", "most", "wrong"), [(True, 2, 1), (True, 1, 0), (None, 2, 0)])
def test_two_limits_of_a_request_do_not_contradict_each_other(one, most, wrong):
    entry = TimeSlicedResource(name="gpu", replicas=4, max_shared_per_pod=most)
    found = clashes(
        sharing__time_slicing=TimeSlicing(resources=(entry,), fail_requests_greater_than_one=one)
    )

    assert [each.split(" is more")[0] for each in found] == [
        "sharing.timeSlicing.resources[0].maxSharedPerPod"
    ] * wrong


def test_a_resource_has_one_policy():
    rules = PlacementRules(
        resources=tuple(
            ResourcePolicy(name=name, policy=PlacementPolicy.PACK)
            for name in ("gpu", "h100", "nvidia.com/gpu")
        )
    )

    assert clashes(plumbline__placement=rules) == [
        "plumbline.placement.resources[2].name 'nvidia.com/gpu' stands twice; join the two entries"
    ]


def test_a_resource_is_shared_once():
    lines = clashes(sharing__time_slicing=shared("gpu", "mig-1g.5gb", "nvidia.com/gpu"))

    assert (
        "sharing.timeSlicing.resources[2].name 'nvidia.com/gpu' stands twice, once for all of its"
        " devices; join the two entries, or list the devices of both" in lines
    )


def test_nothing_is_concluded_from_what_could_not_be_read():
    config = _changed(Config(), ["imex", "channel_ids"], (0, 1))

    paths = {clash.path for clash in find_clashes(config)}

    assert "imex.channelIDs" in paths
    assert "imex.channelIDs" not in {c.path for c in find_clashes(config, ["imex.channelIDs"])}


def test_a_clash_is_placed_where_its_setting_was_written(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(f"flags: {{mpsRoot: /m}}\nsharing:\n  timeSlicing: {SHARED}\n  mps: {SHARED}\n")

    with pytest.raises(ConfigError) as caught:
        resolve(["--config", str(file)], {})

    assert f"{file}:4: sharing.mps: cannot be combined" in str(caught.value)


def test_sharing_is_read_as_upstream_reads_it():
    values, problems = read(
        """
sharing:
  timeSlicing:
    renameByDefault: true
    failRequestsGreaterThanOne: false
    resources:
    - name: nvidia.com/gpu
      replicas: 10
    - name: mig-1g.5gb
      rename: small
      replicas: 2
      devices: 4
    - name: other
      replicas: 2
      devices: [0, 1:0, "2", GPU-b1028956-cfa2-0990-bf4a-5da9abb51763,
                MIG-b1028956-cfa2-0990-bf4a-5da9abb51763,
                MIG-GPU-b1028956-cfa2-0990-bf4a-5da9abb51763/3/0]
"""
    )

    assert problems == []
    slicing = values["sharing.timeSlicing"]
    assert (slicing.rename_by_default, slicing.fail_requests_greater_than_one) == (True, False)
    assert [full_name(r.name) for r in slicing.resources] == [
        "nvidia.com/gpu",
        "nvidia.com/mig-1g.5gb",
        "nvidia.com/other",
    ]
    assert [r.devices for r in slicing.resources[:2]] == ["all", 4]
    assert slicing.resources[2].devices == (
        0,
        "1:0",
        "2",
        "GPU-b1028956-cfa2-0990-bf4a-5da9abb51763",
        "MIG-b1028956-cfa2-0990-bf4a-5da9abb51763",
        "MIG-GPU-b1028956-cfa2-0990-bf4a-5da9abb51763/3/0",
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "sharing.mps.resources: is missing"),
        ("{resources: }", "sharing.mps.resources: is missing"),
        ("{resources: []}", "sharing.mps.resources: the list is empty; expected at least one item"),
        ("{resources: [{name: gpu}]}", "sharing.mps.resources[0].replicas: is missing"),
        ("{resources: [{replicas: 2}]}", "sharing.mps.resources[0].name: is missing"),
        ("{resources: [gpu]}", "sharing.mps.resources[0]: 'gpu' is not a mapping"),
        (
            "{resources: [{name: gpu, replicas: 1}]}",
            "sharing.mps.resources[0].replicas: 1 is not a whole number, 2 or more",
        ),
        (
            "{resources: [{name: gpu, replicas: '4'}]}",
            "'4' is text; expected a whole number, 2 or more (leave the quotes out)",
        ),
        (
            "{resources: [{name: GPU, replicas: 2}]}",
            "sharing.mps.resources[0].name: 'GPU' is not a resource name",
        ),
        ("{resources: [{name: amd.com/gpu, replicas: 2}]}", "'amd.com/gpu' is not a resource name"),
        (
            "{resources: [{name: gpu, replicas: 2, devices: some}]}",
            "resources[0].devices: 'some' is not all or",
        ),
        ("{resources: [{name: gpu, replicas: 2, devices: 0}]}", "devices: 0 is not all or"),
        (
            "{resources: [{name: gpu, replicas: 2, devices: [0, GPU-1]}]}",
            "resources[0].devices[1]: 'GPU-1' is not",
        ),
        (
            "{resources: [{name: gpu, replica: 2}]}",
            "resources[0].replica: unknown key (value: 2); did you mean 'replicas'?",
        ),
        ("{resources: [{name: " + "a" * 53 + ", replicas: 2}]}", "of at most 63 characters"),
        ("[]", "sharing.mps: a list is not a mapping"),
    ],
)
def test_a_wrong_sharing_section_is_told_with_its_path(text, told):
    _, problems = read(f"sharing: {{mps: {text}}}")

    assert any(told in line for line in problems), problems


def test_the_longest_resource_name_fits():
    _, bare = read("resources: {gpus: [{pattern: '*', name: " + "a" * 52 + "}]}")
    _, prefixed = read("resources: {gpus: [{pattern: '*', name: nvidia.com/" + "a" * 52 + "}]}")
    _, longer = read("resources: {gpus: [{pattern: '*', name: nvidia.com/" + "a" * 53 + "}]}")

    assert (bare, prefixed, len(longer)) == ([], [], 1)


def test_a_resource_needs_pattern_and_name():
    _, problems = read(
        "resources:\n  gpus:\n  - pattern: '*'\n  mig:\n  - {name: a, pattern: ''}\n"
    )

    assert problems == [
        (
            "c.yaml:3: resources.gpus[0].name: is missing; expected a resource name of "
            "lower-case letters, digits, '-' and '.', of at most 63 characters with its prefix "
            "nvidia.com/ (which may be left out)"
        ),
        (
            "c.yaml:5: resources.mig[0].pattern: '' is not a pattern for a product name, where * "
            "stands for anything"
        ),
    ]


@pytest.mark.parametrize(
    ("disable", "enable", "ignored", "heeded"),
    [
        ("", "", {13, 31, 43, 45, 68, 109}, {48, 79, 94}),
        ("48", "", {13, 48}, {79}),
        ("all", "", {13, 48, 79}, set()),
        ("xids", "", {13, 48, 79}, set()),
        ("all", "48", {13, 79}, {48}),  # never starts the checker upstream
        ("", "31", {13}, {31, 79}),
        ("48", "all", set(), {13, 48, 79}),
        ("all,48", "48,79", {13}, {48, 79}),
    ],
)
def test_enabling_an_xid_is_stronger_than_disabling_it(disable, enable, ignored, heeded):
    environ = {"DP_DISABLE_HEALTHCHECKS": disable, "DP_ENABLE_HEALTHCHECKS": enable}

    xids = ignored_xids(resolve([], environ).config.plumbline)

    assert {x for x in ignored | heeded if x in xids} == ignored
    assert xids.everything == (not heeded)


def test_the_list_of_ignored_xids_is_the_operators_own():
    own = resolve(["--ignored-xids=48"], {}).config.plumbline
    none = resolve(["--ignored-xids="], {}).config.plumbline

    assert 48 in ignored_xids(own)
    assert 13 not in ignored_xids(own)
    assert 13 not in ignored_xids(none)

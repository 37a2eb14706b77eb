"""`plumbline slices` and `plumbline claims`, as an operator runs them."""

import json
import subprocess
import sys

import pytest
import yaml

from agent.simulation import machines


def plumbline(*words, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "agent.cli.main", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def dgx(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dgx") / "machine"
    machines.create("dgx-h100", folder)
    return folder


def test_slices_are_printed_as_they_would_be_published(dgx):
    (one,) = yaml.safe_load_all(plumbline("slices", "--machine", dgx, "--node-name", "n1"))

    assert (one["kind"], one["metadata"]["name"]) == ("ResourceSlice", "n1-gpu.nvidia.com-000")
    devices = one["spec"]["devices"]
    assert [each["attributes"]["gpuIndex"]["int"] for each in devices] != []
    assert {each["name"] for each in devices} == {
        each.uuid.lower() for each in machines.look(dgx).gpus
    }
    assert devices[0]["attributes"]["nvlinkGroup"] == {"int": 0}
    # The fabric of a DGX ends at its own switches.
    assert "nvlinkClique" not in devices[0]["attributes"]
    assert json.loads(plumbline("slices", "--machine", dgx, "--node-name", "n1", "-o", "json")) == [
        one
    ]
    table = plumbline("slices", "--machine", dgx, "-o", "table")
    assert all(each["name"] in table for each in devices)


def test_slices_of_nics_are_printed_where_they_are_asked_for(dgx):
    both = list(yaml.safe_load_all(plumbline("slices", "--machine", dgx, "--nics")))

    assert [each["spec"]["driver"] for each in both] == ["gpu.nvidia.com", "nic.plumbline.dev"]
    gpus, nics = (each["spec"]["devices"] for each in both)
    assert [each["name"] for each in nics][:2] == ["nic-0000-18-00-0", "nic-0000-40-00-0"]
    rails = [each["attributes"].get("rail") for each in nics]
    assert rails == [*({"int": i} for i in range(8)), None, None, None, None]
    assert {each["attributes"]["rail"]["int"] for each in gpus} == set(range(8))
    table = plumbline("slices", "--machine", dgx, "-o", "table", "--nics")
    assert all(each["name"] in table for each in (*gpus, *nics))
    assert "nic-0000" not in plumbline("slices", "--machine", dgx, "-o", "table")


def configured(tmp_path, **dra):
    path = tmp_path / "config.yaml"
    plumbline = {"mode": "split" if "gpus" in dra else "dra", "dra": dra}
    path.write_text(yaml.safe_dump({"version": "v1", "plumbline": plumbline}))
    return "--config-file", path


def test_the_configuration_says_what_gpus_are_offered_as(dgx, tmp_path):
    how = configured(tmp_path, mig="dynamic", cells=["pair"], nics=True)
    found = list(yaml.safe_load_all(plumbline("slices", "--machine", dgx, *how)))

    devices = [each for one in found for each in one["spec"].get("devices", ())]
    kinds = {each["attributes"]["type"]["string"] for each in devices}
    assert kinds == {"gpu", "mig", "pair", "nic"}
    assert any("sharedCounters" in one["spec"] for one in found)
    table = plumbline("slices", "--machine", dgx, *how, "-o", "table")
    assert all(each["name"] in table for each in devices)


@pytest.mark.parametrize(
    ("gpus", "said"),
    [
        ({"index": [9]}, "plumbline.dra.gpus: no GPU has the index 9"),
        ({"model": "*A100*"}, "plumbline.dra.gpus: fits no GPU of this node; there are 0 (NVIDIA"),
        ({"index": [1, 2]}, ""),
    ],
)
def test_gpus_that_are_selected_and_not_there_are_told(dgx, tmp_path, gpus, said):
    how = map(str, configured(tmp_path, gpus=gpus))
    done = subprocess.run(
        [sys.executable, "-m", "agent.cli.main", "slices", "--machine", dgx, *how],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert said in done.stderr
    assert bool(said) == bool(done.stderr)
    (one,) = yaml.safe_load_all(done.stdout)
    assert len(one["spec"]["devices"]) == (0 if said else 2)


def test_claims_take_an_agent_that_runs(dgx):
    said = plumbline("claims", "--machine", dgx, code=1)

    assert "no agent answers" in said

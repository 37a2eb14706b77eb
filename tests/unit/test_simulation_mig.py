"""The tables of what GPU models can be divided into, against what is known of all of them."""

import math

import pytest

from agent.simulation.parts import shipped

PARTS = shipped()
MODELS = {name: model for name, model in PARTS.gpus.items() if model.mig}


def gigabytes(model, row):
    """What the driver's naming makes of an instance's memory, by eighths of the GPU's."""
    eighths = math.ceil(8 * row.memory_mib / model.memory_mib)
    return math.floor(eighths / 8 * math.ceil(model.memory_mib / 1024) + 0.5)


def starts(row):
    found = []
    for part in row.starts.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def test_every_table_is_of_a_model():
    assert {model.mig for model in MODELS.values()} == set(PARTS.mig)
    assert {
        "a100-40gb",
        "a100-80gb",
        "a30",
        "h100-80gb",
        "h100-nvl-94gb",
        "h200-141gb",
        "b200",
        "gb200",
        "rtx-pro-6000",
    } <= set(PARTS.mig)


@pytest.mark.parametrize("name", MODELS)
def test_names_say_slices_and_memory(name):
    model = MODELS[name]
    for row in PARTS.mig_table(model):
        slices, _, rest = row.name.partition("g.")
        said = int(rest.partition("gb")[0])
        assert int(slices) == row.slices
        # One driver calls a GB200's smallest instances 24 GB, where its own rule gives 23.
        known_exception = name == "gb200" and row.slices == 1 and said == 24
        assert said == gigabytes(model, row) + known_exception


@pytest.mark.parametrize("name", MODELS)
def test_places_fit_the_axis_and_as_many_as_the_table_says_fit_at_once(name):
    table = PARTS.mig_table(MODELS[name])
    axis = max(row.size for row in table)
    whole = max(row.slices for row in table)
    for row in table:
        places = starts(row)
        assert all(place % row.size == 0 and place + row.size <= axis for place in places)
        assert 1 <= row.most <= min(len(places), whole // row.slices)
        assert row.memory_mib <= MODELS[name].memory_mib
    assert len({row.id for row in table}) == len({row.number for row in table}) == len(table)


def test_an_h100_is_what_listings_show():
    rows = {row.name: row for row in PARTS.mig["h100-80gb"]}
    assert {name: (row.id, row.most, starts(row), row.size) for name, row in rows.items()} == {
        "1g.10gb": (19, 7, [0, 1, 2, 3, 4, 5, 6], 1),
        "1g.10gb+me": (20, 1, [0, 1, 2, 3, 4, 5, 6], 1),
        "1g.20gb": (15, 4, [0, 2, 4, 6], 2),
        "2g.20gb": (14, 3, [0, 2, 4], 2),
        "3g.40gb": (9, 2, [0, 4], 4),
        "4g.40gb": (5, 1, [0], 4),
        "7g.80gb": (0, 1, [0], 8),
    }
    assert rows["1g.20gb"].multiprocessors == 26
    assert rows["3g.40gb"].multiprocessors == 60

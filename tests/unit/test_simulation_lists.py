import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.errors import ConfigError
from agent.simulation import lists


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", ()),
        ("0", (0,)),
        ("0-3,8", (0, 1, 2, 3, 8)),
        ("8, 0-1", (0, 1, 8)),
        ("3-3", (3,)),
    ],
)
def test_lists_are_read_as_the_kernel_writes_them(text, numbers):
    assert lists.parse(text, what="cpus") == numbers


@pytest.mark.parametrize("text", ["a", "1-", "-1", "1--2", "0x3", "1;2", "\u0661"])
def test_what_is_no_list_is_refused(text):
    with pytest.raises(ConfigError) as refused:
        lists.parse(text, what="cpus")

    assert str(refused.value) == f"cpus: '{text}' is no list of numbers and ranges like 0-3,8"


@pytest.mark.parametrize("text", ["3-1", "0-65536"])
def test_ranges_that_cannot_be_are_refused(text):
    with pytest.raises(ConfigError) as refused:
        lists.parse(text, what="cpus")

    assert str(refused.value) == f"cpus: '{text}' in '{text}' is no ascending range below 65536"


@given(st.sets(st.integers(0, 300)))
def test_what_is_rendered_reads_back(numbers):
    assert lists.parse(lists.render(numbers), what="cpus") == tuple(sorted(numbers))


@pytest.mark.parametrize(
    ("numbers", "width", "mask"),
    [
        ((0, 1), 2, "3"),
        ((), 4, "0"),
        ((4,), 5, "10"),
        ((0, 31), 32, "80000001"),
        ((0, 32), 33, "1,00000001"),
        ((0, 39), 40, "80,00000001"),
        (range(32, 64), 128, "00000000,00000000,ffffffff,00000000"),
    ],
)
def test_masks_are_groups_of_32_bits(numbers, width, mask):
    assert lists.mask(numbers, width) == mask

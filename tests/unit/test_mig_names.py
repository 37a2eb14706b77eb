"""Names of MIG profiles, and which profile of a GPU one means."""

import pytest
from mig_boards import A30, A100, B200, H100, RTX_PRO_6000, profile

from agent.model.mig_names import (
    MigSuffix,
    ProfileName,
    gigabytes_of,
    parse_profile,
    profile_name,
    suggest_profile,
)
from agent.planning.mig_match import NoSuchProfileError, match_compute, match_profile

GIB = 1 << 30


@pytest.mark.parametrize(
    ("text", "name", "label"),
    [
        ("1g.5gb", "1g.5gb", "1g.5gb"),
        ("1g.10gb+me", "1g.10gb+me", "1g.10gb.me"),
        ("1g.10gb.me", "1g.10gb+me", "1g.10gb.me"),
        ("1g.24gb-me", "1g.24gb-me", "1g.24gb-me"),
        ("1g.24gb.me.all", "1g.24gb+me.all", "1g.24gb.me.all"),
        ("4g.96gb.gfx", "4g.96gb+gfx", "4g.96gb.gfx"),
        ("1c.3g.20gb", "1c.3g.20gb", "1c.3g.20gb"),
        ("3c.3g.20gb", "3g.20gb", "3g.20gb"),
    ],
)
def test_a_name_is_read_in_both_spellings(text, name, label):
    read = parse_profile(text)

    assert (str(read), read.label) == (name, label)


def test_a_name_is_taken_apart():
    assert parse_profile("2c.4g.96gb+gfx") == ProfileName(
        compute_slices=2, slices=4, gigabytes=96, suffix=MigSuffix.GRAPHICS
    )


@pytest.mark.parametrize(
    "text", ["", "1g", "1g.5", "0g.5gb", "1g.05gb", "4c.3g.20gb", "1g.5gb+x", "1g.5gb\n", "1G.5GB"]
)
def test_what_is_no_name_is_none(text):
    assert parse_profile(text) is None


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1g10gb", "1g.10gb"),
        ("1G.10GB", "1g.10gb"),
        ("1g.10", "1g.10gb"),
        ("mig-1g.10gb.me", "1g.10gb+me"),
        ("nvidia.com/mig-3g.40gb", "3g.40gb"),
        ("1c3g20gb", "1c.3g.20gb"),
        ("1g.24gb_me_all", "1g.24gb+me.all"),
        ("half", None),
    ],
)
def test_what_was_meant_is_guessed(text, meant):
    assert suggest_profile(text) == meant


@pytest.mark.parametrize(
    ("mib", "total_mib", "gigabytes"),
    [
        (4864, 40960, 5),  # A100-40
        (9984, 81559, 10),  # H100-80: 9.75 GiB of 79.65
        (40448, 81559, 40),
        (5950, 24576, 6),  # A30
        (20992, 183359, 23),  # B200: 22.5, where Python rounds to the even 22
        (71168, 143771, 71),  # H200: 70.5
    ],
)
def test_the_gigabytes_of_a_name_are_eighths_and_half_counts_as_one(mib, total_mib, gigabytes):
    assert gigabytes_of(mib << 20, total_bytes=total_mib << 20) == gigabytes


def test_a_name_is_made_from_attributes():
    made = profile_name(
        slices=3,
        memory_bytes=39 * GIB,
        total_bytes=80 * GIB,
        suffix=MigSuffix.MEDIA,
        compute_slices=1,
    )

    assert str(made) == "1c.3g.40gb+me"


@pytest.mark.parametrize(
    ("text", "offered", "name"),
    [
        ("1g.10gb", A100, "1g.10gb"),
        ("1g.10gb", H100, "1g.10gb"),
        ("1g.20gb", H100, "1g.20gb"),
        ("1g.10gb.me", H100, "1g.10gb+me"),
        ("7g.79gb", H100, "7g.80gb"),
        ("1g.24gb", B200, "1g.23gb"),
        ("1c.3g.39gb", H100, "3g.40gb"),
        ("1g.24gb-me", RTX_PRO_6000, "1g.24gb-me"),
    ],
)
def test_a_name_means_the_profile_of_that_name_or_of_nearly_that_memory(text, offered, name):
    assert match_profile(parse_profile(text), offered).name == name


@pytest.mark.parametrize(
    ("text", "offered", "said"),
    [
        (
            "1g.5gb",
            A30,
            (
                "no '1g.5gb', only 1g.6gb, 1g.6gb+me, 2g.12gb, 2g.12gb+me, 4g.24gb; "
                "did you mean '1g.6gb'?"
            ),
        ),
        (
            "1g.15gb",
            H100,
            (
                "no '1g.15gb', only 1g.10gb, 1g.10gb+me, 1g.20gb, 2g.20gb, 3g.40gb, 4g.40gb, "
                "7g.80gb; did you mean '1g.10gb'?"
            ),
        ),
        (
            "1g.23gb",
            (
                profile("1g.22gb", 0, 19, 20.5, 18, 7, (0,), 1),
                profile("1g.24gb", 9, 15, 22.5, 30, 4, (0,), 2),
            ),
            (
                "'1g.22gb' (id 19, 20992 MiB) and '1g.24gb' (id 15, 23040 MiB), and '1g.23gb' may "
                "be either; write the one meant"
            ),
        ),
        (
            "1g.5gb",
            (),
            (
                "no '1g.5gb': the driver tells no profiles; switch MIG mode on first (drivers up "
                "to 535 tell them only then)"
            ),
        ),
    ],
)
def test_a_name_that_means_no_profile_or_two_is_refused(text, offered, said):
    with pytest.raises(NoSuchProfileError) as error:
        match_profile(parse_profile(text), offered)

    assert str(error.value) == said


def test_a_compute_instance_of_a_size_that_is_not_offered_is_refused():
    seven = H100[-1]
    with pytest.raises(NoSuchProfileError) as error:
        match_compute(parse_profile("4c.7g.80gb"), seven)

    assert str(error.value) == (
        "no '4c.7g.80gb', only 1c.7g.80gb, 2c.7g.80gb, 3c.7g.80gb, 7g.80gb; "
        "did you mean '3c.7g.80gb'?"
    )

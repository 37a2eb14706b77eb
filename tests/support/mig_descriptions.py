"""What a simulated GPU can be divided into, as lines of a machine's description."""

# What an H100 80GB offers, by NVML's numbers of the profiles: name, id, slices, MiB,
# multiprocessors, most, starts, size, decoders, JPEG and optical flow engines.
H100_PROFILES = {
    0: ("1g.10gb", 19, 1, 9984, 16, 7, "0-6", 1, 1, 1, 0),
    1: ("2g.20gb", 14, 2, 20096, 32, 3, "0,2,4", 2, 2, 2, 0),
    2: ("3g.40gb", 9, 3, 40448, 60, 2, "0,4", 4, 3, 3, 0),
    3: ("4g.40gb", 5, 4, 40448, 64, 1, "0", 4, 4, 4, 0),
    4: ("7g.80gb", 0, 7, 81152, 132, 1, "0", 8, 7, 7, 1),
    7: ("1g.10gb+me", 20, 1, 9984, 16, 1, "0-6", 1, 1, 1, 1),
    9: ("1g.20gb", 15, 1, 20096, 26, 4, "0,2,4,6", 2, 1, 1, 0),
}
PROFILE_FIELDS = (
    *("name", "id", "slices", "memory_mib", "multiprocessors", "most", "starts", "size"),
    *("decoders", "jpegs", "ofas"),
)


def mig_profiles(gpu=0, profiles=None):
    """Return the facts of what a GPU can be divided into."""
    return {
        f"mig_profile {gpu} {number} {field}": str(value)
        for number, row in (profiles or H100_PROFILES).items()
        for field, value in zip(PROFILE_FIELDS, row, strict=True)
    }

"""What real boards offer in MIG mode, as `nvidia-smi mig -lgip` and `-lgipp` printed it."""

from agent.model.inventory import PciAddress
from agent.model.mig import ComputeProfile, GpuInstanceProfile, MigPlacement
from agent.planning.layout_model import DivisibleGpu

# Enum of a compute profile by its slices, and how many fit by the slices of the GPU instance.
_COMPUTE_ENUMS = {1: 0, 2: 1, 3: 2, 4: 3, 7: 4}
_COMPUTE_SIZES = {1: (1,), 2: (1, 2), 3: (1, 2, 3), 4: (1, 2, 4), 7: (1, 2, 3, 7)}


def compute(slices, multiprocessors):
    """The compute profiles of a GPU instance of so many slices."""
    return tuple(
        ComputeProfile(
            enum=_COMPUTE_ENUMS[size],
            id=_COMPUTE_ENUMS[size],
            slices=size,
            multiprocessors=multiprocessors * size // slices,
            most=slices // size,
        )
        for size in _COMPUTE_SIZES[slices]
    )


def profile(name, enum, number, gib, multiprocessors, most, starts, size):
    slices = int(name.partition("g")[0])
    return GpuInstanceProfile(
        name=name,
        enum=enum,
        id=number,
        slices=slices,
        memory_mib=int(gib * 1024),
        multiprocessors=multiprocessors,
        most=most,
        placements=tuple(MigPlacement(start=start, size=size) for start in starts),
        compute=compute(slices, multiprocessors),
    )


SEVEN = (0, 1, 2, 3, 4, 5, 6)


def hopper(names, gib, multiprocessors):
    """The profiles of a board with 7 compute and 8 memory slices."""
    one, two, three, four, seven = names
    g1, g2, g3, g7 = gib
    m1, m1b, m2, m3, m4, m7 = multiprocessors
    twice = two.replace("2g", "1g")
    return (
        profile(one, 0, 19, g1, m1, 7, SEVEN, 1),
        profile(f"{one}+me", 7, 20, g1, m1, 1, SEVEN, 1),
        profile(twice, 9, 15, g2, m1b, 4, (0, 2, 4, 6), 2),
        profile(two, 1, 14, g2, m2, 3, (0, 2, 4), 2),
        profile(three, 2, 9, g3, m3, 2, (0, 4), 4),
        profile(four, 3, 5, g3, m4, 1, (0,), 4),
        profile(seven, 4, 0, g7, m7, 1, (0,), 8),
    )


A100 = hopper(
    ("1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"),
    (4.75, 9.62, 19.5, 39.25),
    (14, 14, 28, 42, 56, 98),
)
H100 = hopper(
    ("1g.10gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"),
    (9.75, 19.62, 39.5, 79.25),
    (16, 26, 32, 60, 64, 132),
)
H200_141 = hopper(
    ("1g.18gb", "2g.35gb", "3g.71gb", "4g.71gb", "7g.141gb"),
    (16.0, 32.5, 69.5, 139.5),  # between H100's and GH200-144's: no dump is at hand
    (16, 26, 32, 60, 64, 132),
)
B200 = hopper(
    ("1g.23gb", "2g.45gb", "3g.90gb", "4g.90gb", "7g.180gb"),
    (20.5, 44.25, 89.0, 178.5),
    (18, 30, 36, 70, 72, 148),
)
A30 = (
    profile("1g.6gb", 0, 14, 5.81, 14, 4, (0, 1, 2, 3), 1),
    profile("1g.6gb+me", 7, 21, 5.81, 14, 1, (0, 1, 2, 3), 1),
    profile("2g.12gb", 1, 5, 11.69, 28, 2, (0, 2), 2),
    profile("2g.12gb+me", 8, 6, 11.69, 28, 1, (0, 2), 2),
    profile("4g.24gb", 3, 0, 23.44, 56, 1, (0,), 4),
)
RTX_PRO_6000 = (
    profile("1g.24gb", 0, 14, 23.62, 46, 4, (0, 3, 6, 9), 3),
    profile("1g.24gb+me", 7, 21, 23.62, 46, 1, (0, 3, 6, 9), 3),
    profile("1g.24gb+gfx", 10, 47, 23.62, 46, 4, (0, 3, 6, 9), 3),
    profile("1g.24gb+me.all", 15, 65, 23.62, 46, 1, (0, 3, 6, 9), 3),
    profile("1g.24gb-me", 13, 67, 23.62, 46, 4, (0, 3, 6, 9), 3),
    profile("2g.48gb", 1, 5, 47.38, 94, 2, (0, 6), 6),
    profile("2g.48gb+gfx", 11, 35, 47.38, 94, 2, (0, 6), 6),
    profile("2g.48gb+me.all", 16, 64, 47.38, 94, 1, (0, 6), 6),
    profile("2g.48gb-me", 14, 66, 47.38, 94, 2, (0, 6), 6),
    profile("4g.96gb", 3, 0, 95.0, 188, 1, (0,), 12),
    profile("4g.96gb+gfx", 12, 32, 95.0, 188, 1, (0,), 12),
)

# Product name, PCI device id above the vendor's, and profiles.
BOARDS = {
    "A100": ("NVIDIA A100-SXM4-40GB", 0x20B010DE, A100),
    "A30": ("NVIDIA A30", 0x20B710DE, A30),
    "H100": ("NVIDIA H100 80GB HBM3", 0x233010DE, H100),
    "H200": ("NVIDIA H200", 0x233510DE, H200_141),
    "B200": ("NVIDIA B200", 0x290110DE, B200),
    "RTX": ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 0x2BB510DE, RTX_PRO_6000),
    "T4": ("Tesla T4", 0x1EB810DE, ()),
}


def gpu(board, index=0, subsystem=0x147F10DE):
    model, device_id, profiles = BOARDS[board]
    return DivisibleGpu(
        index=index,
        uuid=uuid(index),
        address=PciAddress(f"0000:{0x10 + index:02x}:00.0"),
        module_id=index + 1,
        model=model,
        device_id=device_id,
        subsystem_id=subsystem,
        capable=bool(profiles),
        profiles=profiles,
    )


def uuid(index):
    return f"GPU-00000000-0000-0000-0000-{index:012x}"


def node(*boards):
    """GPUs of these boards, numbered."""
    return tuple(gpu(board, index) for index, board in enumerate(boards))

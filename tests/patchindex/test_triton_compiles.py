"""The device kernels compile for a GPU on a machine without one, and keep to its registers."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

PROGRAM = """
import json, re, subprocess, sys, tempfile
from pathlib import Path
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from patchindex import PatchGeometry
from patchindex.device import CPU
from patchindex.kernels.tiles import TILES, ScanTile
from patchindex.kernels.triton_lists import (LIST_SHARES, NUM_WARPS, TILE_CODES, TILE_QUERIES,
                                             aligned, dot_dims)
from patchindex.kernels.triton_lists_kernel import rank_list_tile
from patchindex.kernels.triton_rescore_kernel import rescore_kernel
from patchindex.kernels import triton_merge_kernel as merge
from patchindex.kernels import triton_patches_kernel as patches
from patchindex.kernels import triton_rank_kernel as rank
from patchindex.kernels.triton_flash import flash_constants, flash_tile
from patchindex.kernels.triton_flash_kernel import flash_kernel
from patchindex.kernels.scan_parts import col_ranges, scan_parts
from patchindex.kernels.triton_scan import constants
from patchindex.kernels.triton_scan_kernel import scan_kernel

from sampler.estimator import triton_tail_kernel as tail

CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"

def compiled(kernel, types, constants, warps, attrs=None):
    names = [name for name in kernel.arg_names if name not in constants]
    kinds = dict(zip(names, types.split(), strict=True))
    source = ASTSource(kernel, kinds, constexprs=constants, attrs=attrs or {})
    options = {"num_warps": warps, "enable_fp_fusion": True}
    binary = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(binary.asm["cubin"])
        told = subprocess.run([CUOBJDUMP, "-res-usage", file.name], capture_output=True, text=True)
    found = re.search(r"REG:(\\d+) STACK:(\\d+).*?LOCAL:(\\d+)", told.stdout + told.stderr)
    registers, stack, local = map(int, found.groups())
    shared = binary.metadata.shared
    return {"registers": registers, "spilled": stack + local, "shared": shared}

TYPES = "*fp32 *fp32 *fp32 i32 i32 i32 i32 i32 i32 i32 i32 fp32"

FLASH_TYPES = "*fp16 *fp16 *fp32 *fp32 *fp32 i32 i32 i32 i32 i32"

def scan_of(geometry, tile, edges_only=False):
    used = []
    for part in scan_parts(geometry, tile, edges_only=edges_only):
        shape = constants(geometry, 1, part.tile)
        shape |= {"FIRST_COL": part.cols.start, "END_COL": part.cols.stop}
        used.append(compiled(scan_kernel, TYPES, shape, 1))
    return max(used, key=lambda usage: (usage["spilled"], usage["registers"]))

def scan():
    return scan_of(PatchGeometry(height=32, width=32, patch_size=5), TILES[0])

def edges():
    return scan_of(PatchGeometry(height=32, width=32, patch_size=9), TILES[0], edges_only=True)

def flash():
    used = []
    for patch_size, channels in ((3, 1), (3, 3), (9, 1), (9, 3), (17, 3)):
        geometry = PatchGeometry(height=32, width=32, patch_size=patch_size)
        tile = flash_tile(geometry, channels, CPU)
        shape = flash_constants(geometry, channels, tile)
        used.append(compiled(flash_kernel, FLASH_TYPES, shape, tile.warps))
    return {name: max(usage[name] for usage in used) for name in used[0]}

def shares():
    geometry = PatchGeometry(height=32, width=32, patch_size=5)
    used = []
    for first, end in col_ranges(geometry):
        shape = constants(geometry, 1, TILES[0]) | {"FIRST_COL": first, "END_COL": end}
        shape["SHARED"] = True
        del shape["image_shares"], shape["move_shares"]
        used.append(compiled(scan_kernel, TYPES + " *i32 *i32", shape, 1))
    return max(used, key=lambda usage: (usage["spilled"], usage["registers"]))

def rules():
    used = []
    for boundary in ("zeros", "circular", "circular_interior"):
        for patch_size in (1, 3):
            for moves in (True, False):
                geometry = PatchGeometry(height=9, width=9, patch_size=patch_size,
                                         boundary=boundary, equivariant=moves)
                used.append(scan_of(geometry, ScanTile(2, 1)))
    return max(used, key=lambda usage: (usage["spilled"], usage["registers"]))

def rescore():
    shape = {"HEIGHT": 32, "WIDTH": 32, "C": 3, "CANDIDATES": 64, "LANES": 16}
    types = "*u8 *fp32 *i64 *fp32 *i32 *i64 i32 i32 i32 i32"
    return compiled(rescore_kernel, types, shape, 4)

LIST_TYPES = ("*u8 *fp32 *i64 *i64 *u8 i32 *fp16 *fp16 *fp32 *fp32 *i64 *i64 *i64 *i64 *i64 i32"
              " *i32 *i64 i32 i32")

def lists():
    used = []
    # of pointers that torch allocates, as a launch tells the compiler
    attrs = {(place,): [["tt.divisibility", 16]]
             for place, kind in enumerate(LIST_TYPES.split()) if kind[0] == "*"}
    for dims in (9, 40, 64):
        for masked, everything in ((False, False), (True, False), (False, True)):
            first, more = dot_dims(dims)
            shape = {"STRIDE": aligned(dims), "FIRST_DIMS": first, "MORE_DIMS": more,
                     "MASKED": masked, "ALL": everything, "TILE_QUERIES": TILE_QUERIES,
                     "TILE_CODES": TILE_CODES, "LIST_SHARES": LIST_SHARES}
            used.append(compiled(rank_list_tile, LIST_TYPES, shape, NUM_WARPS, attrs))
    return max(used, key=lambda usage: (usage["spilled"], usage["registers"]))

# letters for the types of what the smaller kernels are given
LETTERS = {"l": "*i64", "d": "*fp64", "f": "*fp32", "b": "*u8", "n": "*i32", "i": "i32"}
LETTERS["x"] = "fp32"

def small(kernel, letters, warps=4, **constants):
    return compiled(kernel, " ".join(LETTERS[each] for each in letters), constants, warps)

def steps():
    image = {"HEIGHT": 32, "WIDTH": 32}
    pixels = image | {"C": 3}
    groups = {"GROUPED": True, "GROUPS": 64, "ROWS": 61, "COLS": 61}
    alone = {"GROUPED": False, "GROUPS": 1, "ROWS": 1, "COLS": 1} | dict.fromkeys(
        ("query_pixels", "numbers", "set_of", "groups_of", "displacement_shares", "groups"))
    used = [
        small(merge.merge_kernel, "fd" + 10 * "i", **pixels, BLOCK=128),
        small(patches.propagate_kernel, 9 * "l" + "iii", **image, BLOCK=256),
        small(patches.mark_repeats_kernel, "llli", BLOCK=256),
        small(patches.place_images_kernel, "lnnii", GROUPS=64, BLOCK=128),
        small(patches.weigh_kernel, "flbdlllln" + "nniiix", **pixels, **groups, BLOCK=256),
        small(patches.weigh_kernel, "flbdliiix", **pixels, **alone, BLOCK=256),
        small(patches.members_kernel, "lflnbllffiix", **pixels, BLOCK=128),
        small(rank.take_operands_kernel, "flddllddd" + 5 * "i", 1, LEAD=24, BLOCK=32),
        small(rank.put_lists_kernel, "d" + 8 * "l" + 7 * "i", 1, LIMITED=True, OWN_PROBES=True,
              BLOCK=128),
        small(tail.tail_kernel, 8 * "d" + 4 * "l" + "ffll" + "dldd" + 7 * "i" + "x",
              8, GROUPS=50, LANES=64, C=3, QUERIES=16),
        small(tail.pareto_kernel, "dldi", 1, TAIL=12, POINTS=33, QUERIES=32),
    ]
    return max(used, key=lambda usage: (usage["spilled"], usage["registers"]))

print(json.dumps(globals()[sys.argv[1]]()))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "kernel", ["scan", "edges", "flash", "shares", "rules", "rescore", "lists", "steps"]
)
def test_kernels_compile_for_a_gpu_and_spill_nothing(kernel: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, kernel],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    usage = json.loads(told.stdout.splitlines()[-1])
    assert usage["spilled"] == 0
    assert usage["shared"] <= 99 * 2**10  # the least that GPUs of capability 8.0 and above have
    # the flash scan may have all: its products fill them, and none is spilled
    assert usage["registers"] < (256 if kernel == "flash" else 255)

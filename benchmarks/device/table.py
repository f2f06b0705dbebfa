"""Rows of results as lines for people."""

from typing import Any

FORMS = {
    "environment": "{environment[gpu]}; {environment[search]}\n{chip}",
    "compile": "compiled in {seconds:.0f} s; images are {dataset}",
    "predict": (
        "P {patch_size:2d} x {channels} x {side}: tile {rows}x{moves}, {registers} registers, "
        "{stack_bytes} bytes spilled, {per_lane_pair:.1f} instructions a lane-pair, "
        "{lane_pairs:.2f} lane-pairs a pair; {num_images:,} images take at least "
        "{least_seconds:.4f} s"
    ),
    "tune": "P {patch_size:2d}: tile {tile} of {seconds}",
    "scan": (
        "P {patch_size:2d}, {states} states: {seconds_per_image:.4f} s a step per image, "
        "{pairs_per_second:.3g} pairs/s, share of the limit {share:.2f}"
    ),
    "agreement": "P {patch_size:2d}: the processor's mean is {largest_difference:.1e} away at most",
    "rescore": (
        "rescore P {patch_size}: {seconds:.4f} s; share of the memory's "
        "{bytes_per_second:.3g} B/s: cells {cell_share:.2f}, sectors {sector_share:.2f}"
    ),
    "build": "build of {shape}: {seconds:.0f} s, complete {complete}",
    "exact": "exact scan of {num_images:,} images: {seconds_of_all_images:.2f} s per image",
    "retrieval": (
        "{num_images:,} images, t {t}: {seconds_per_image:.3f} s a step per image, "
        "R2 {R2} over {R2_states} states"
    ),
    "all": "all in {seconds:.0f} s",
}


def told(row: dict[str, Any]) -> str:
    """A line."""
    return FORMS[row["part"]].format(**({"share": float("nan")} | row))

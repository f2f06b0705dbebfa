"""What pictures score as near-copies that are none: held-out images, asked as a picture is asked.

Best are images that the generator has not seen. Where there are none, training images stand for
them, each asked without its own patches. Beware of duplicates then: an image that the set holds
twice finds its twin and scores as the copy that it is, so that p-values are too large, never too
small. Duplicates within a set of held-out images do the same.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from patchindex import ImageSet, PatchIndex
from patchindex.images import to_unit
from patchindex.paths import home, whole_file
from patchindex.progress import ProgressCallback, no_progress
from sampler.attribution.copy_results import CopyNull, CopySettings, NearCopies
from sampler.attribution.near_copies import BATCH, check_picture, resolved, search_pictures
from sampler.errors import SamplerConfigError

logger = logging.getLogger(__name__)

VERSION = 1  # of what is scored: another one makes kept nulls anew


def held_out(
    index: PatchIndex,
    *,
    num: int = 200,
    seed: int = 0,
    others: ImageSet | None = None,
    settings: CopySettings | None = None,
    keep: bool = True,
    progress: ProgressCallback = no_progress,
) -> CopyNull:
    """Score held-out images, or training images each asked without itself, as near-copies.

    Args:
        num: how many are drawn; p-values are 1 / (1 + num) or more.
        others: images that the index does not hold; None draws training images.
        settings: those of the pictures that are asked about, `mirrored` included.
        keep: read the answer from the user's home folder if it is there, else write it there.

    Raises:
        SamplerConfigError: num is out of range, or the others have another shape.

    Example:
        null = held_out(index, num=200, settings=CopySettings(mirrored=True))
    """
    settings = resolved(settings or CopySettings(), index)
    among = index.images if others is None else others
    if not 1 <= num <= len(among):
        raise SamplerConfigError(
            f"{num} held-out images were asked for, but {among.name} has {len(among)}. "
            f"Give 1 to {len(among)}."
        )
    check_picture(to_unit(np.asarray(among.pixels[0])), index.images)
    job = {
        "version": VERSION, "index": index.digest, "num": num, "seed": seed,
        "others": None if others is None else others.sha256, "settings": asdict(settings),
    }  # fmt: skip
    path = null_path(job)
    if keep and (known := _read(path, index, settings)) is not None:
        return known
    places = np.sort(np.random.default_rng(seed).choice(len(among), num, replace=False))
    # only the best region of each counts
    once, found = replace(settings, most=1, least_score=0.0), []
    for answers in _answers(index, among, places, once, left_out=others is None):
        found.extend(answers)
        progress("held-out images", len(found), num)
    null = CopyNull(
        scores=tuple(each.score for each in found),
        distances=tuple(each.nearest_distance for each in found),
        origin="left out" if others is None else "held out",
        settings=settings,
        index=index.digest,
    )
    if keep:
        _keep(null, path)
    return null


def null_path(job: dict[str, object]) -> Path:
    """Where the null of an index, of settings and of images is kept in the user's home folder."""
    text = json.dumps(job, sort_keys=True).encode()
    return home() / "near_copies" / f"{sha256(text).hexdigest()[:32]}.json"


def _keep(null: CopyNull, path: Path) -> None:
    """Write a null for the next time; where that is refused, it is only made again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as part:
            part.write_text(json.dumps(asdict(null)) + "\n", encoding="utf-8")
    except OSError as error:
        logger.warning(
            "what held-out images score cannot be kept in %s (%s): it is worked out anew each time",
            path.parent,
            error.strerror or error,
        )


def _answers(
    index: PatchIndex,
    among: ImageSet,
    places: Int[ndarray, " b"],
    settings: CopySettings,
    *,
    left_out: bool,
) -> Iterator[list[NearCopies]]:
    """The near-copies of these images, some at a time."""
    for start in range(0, len(places), BATCH):
        some = places[start : start + BATCH]
        yield search_pictures(
            index,
            to_unit(np.asarray(among.pixels[some])),
            settings,
            without=[int(place) for place in some] if left_out else None,
        )


def _read(path: Path, index: PatchIndex, settings: CopySettings) -> CopyNull | None:
    """The null that is kept there; None if there is none, or none that can be read."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        held = json.loads(path.read_text(encoding="utf-8"))
        scores = tuple(float(each) for each in held["scores"])
        distances = tuple(float(each) for each in held["distances"])
        if scores and len(scores) == len(distances):
            return CopyNull(
                scores=scores, distances=distances, origin=str(held["origin"]),
                settings=settings, index=index.digest,
            )  # fmt: skip
    return None

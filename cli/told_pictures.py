"""What was found of pictures, in lines: near-copies first, and what shares do not say."""

from collections.abc import Iterator, Sequence
from math import prod

from sampler.results.picture_result import (
    UNLIKELY,
    CopiesReport,
    CopyReport,
    PictureReport,
    PictureResult,
)

SHARES_TOLD = 3
GRAY_LEVELS = 255 / 2  # of a difference of 1 in [-1, 1] units
WORTH_TELLING = 0.0005  # of a share, below which one decimal is zero
NO_COPY = "no near-copy: no region agrees with one training image more than chance would have it"
NO_PROOF = (
    "Shares say which training images are most similar to a picture, and no more: one that copies "
    "nothing has such shares, too."
)


def format_pictures(result: PictureResult) -> Iterator[str]:
    """What was found of each picture, and what to think of it."""
    num_pixels = prod(result.source.shape[1:])
    for picture in result.pictures:
        near = picture.near_copies
        if near is None:
            yield f"{picture.name}: near-copies were not looked for"
        else:
            yield f"{picture.name}: {_verdict(near)}"
            yield from (f"  {line}" for line in _copy_lines(near, num_pixels))
        yield f"  {shares_line(picture)}"
    if any(picture.images for picture in result.pictures):
        yield NO_PROOF
    counts = {near.held_out for each in result.pictures if (near := each.near_copies)}
    for held_out in counts:
        if line := few_line(held_out):
            yield line


def few_line(held_out: int) -> str | None:
    """How little so few held-out pictures can say; None if they are enough."""
    if held_out == 0:
        return (
            "No held-out pictures were compared: nothing says how often such a region is found by "
            "chance."
        )
    smallest = 1 / (1 + held_out)
    if smallest <= UNLIKELY:
        return None
    return (
        f"Only {held_out} held-out pictures say what chance is: p cannot be below {smallest:.2g}, "
        "so a near-copy is what none of them has the like of. 100 or more say it better."
    )


def _verdict(near: CopiesReport) -> str:
    """Whether there are near-copies."""
    images = len({copy.image for copy in near.accepted})
    if images:
        return f"near-copies of {images} training images" if images > 1 else "a near-copy"
    if near.novelty is None:
        return NO_COPY if near.held_out else "no region was held against chance"
    return (
        f"{NO_COPY}. Its details are farther from the training images than those of "
        f"{near.novelty:.0%} of {near.held_out} held-out pictures"
    )


def _copy_lines(near: CopiesReport, num_pixels: int) -> Iterator[str]:
    """A line for each training image that is copied, or may be, the largest part first."""
    for words, copies in (("near-copy", near.accepted), ("possible near-copy", near.possible)):
        by_image: dict[tuple[int, bool], list[CopyReport]] = {}
        for copy in copies:
            by_image.setdefault((copy.image, copy.mirrored), []).append(copy)
        groups = sorted(by_image.values(), key=lambda group: -sum(copy.pixels for copy in group))
        for group in groups:
            name = group[0].name or f"image {group[0].image}"
            yield f"{words} of {name}: {_copy_words(group, num_pixels, near.held_out)}"


def _copy_words(pieces: Sequence[CopyReport], num_pixels: int, held_out: int) -> str:
    """What one training image has in common with a picture."""
    pixels = sum(copy.pixels for copy in pieces)
    parts = [
        f"{pixels / num_pixels:.0%} of the picture",
        "mirrored" if pieces[0].mirrored else "",
        _place(pieces[0].displacement) if len(pieces) == 1 else f"in {len(pieces)} pieces",
        _difference(sum(copy.pixels * copy.distance**2 for copy in pieces) / pixels),
    ]
    return f"{', '.join(filter(None, parts))}{_chance(pieces, held_out)}"


def _place(displacement: tuple[int, int]) -> str:
    """Where in the training image a piece lies, as seen from its place in the picture."""
    names = (("row", "lower", "higher"), ("column", "further right", "further left"))
    ways = [
        f"{abs(by)} {name}{'s' if abs(by) > 1 else ''} {more if by > 0 else less}"
        for by, (name, more, less) in zip(displacement, names, strict=True)
        if by
    ]
    return f"there {' and '.join(ways)}" if ways else "at the same place"


def _difference(squared: float) -> str:
    """By how much pixels differ, from their mean squared difference in [-1, 1] units."""
    levels = GRAY_LEVELS * squared**0.5
    if levels == 0:
        return "without a difference"
    about = "less than 1" if levels < 1 else f"about {levels:.0f}"
    return f"differing by {about} of 255 gray levels"


def _chance(pieces: Sequence[CopyReport], held_out: int) -> str:
    """How often held-out pictures have such a region, by the surest piece."""
    values = [copy.p_value for copy in pieces if copy.p_value is not None]
    if not values:
        return ""
    like = round(min(values) * (1 + held_out)) - 1
    if not like:
        return f" (p <= {min(values):.2g})"
    has = "has" if like == 1 else "have"
    return (
        f" (p = {min(values):.2g}: {like} of {held_out} held-out pictures {has} such a region, too)"
    )


def shares_line(picture: PictureReport) -> str:
    """The largest shares, how many images make nine tenths of them, and what is unattributed."""
    if not picture.images:
        return "no training image is named: the weight is spread over very many patches"
    largest = ", ".join(
        f"{part.name or f'image {part.image}'} {part.share:.1%}"
        for part in picture.images[:SHARES_TOLD]
    )
    count = picture.images_to_nine_tenths
    images = "1 training image makes" if count == 1 else f"{count:,} training images make"
    rest = (
        f"; {picture.unattributed:.1%} lies on images that are not named"
        if picture.unattributed >= WORTH_TELLING
        else ""
    )
    return f"most similar: {largest}; {images} nine tenths of what is attributed{rest}"

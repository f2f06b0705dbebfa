"""The sources of a pixel as a table for the terminal."""

from collections.abc import Iterator

from patchindex import ImageSet
from sampler.provenance.pixel_sources import Provenance, Source, Tie

HEADER = f"{'image':>9} {'y':>4} {'x':>4} {'distance':>10} {'weight':>9} {'alike':>11}  class"


def provenance_lines(provenance: Provenance, images: ImageSet) -> Iterator[str]:
    """What was asked, a row for each source, the share of all others, and how sure this is."""
    yield question_line(provenance, images)
    yield HEADER
    for source, tie in with_ties(provenance):
        yield table_row(source, tie, images)
    error = provenance.standard_error
    yield f"{'others':>9} {'':>20} {share_of(provenance.unattributed):>9}" + (
        f" +- {share_of(error)}" if error else ""
    )
    if any(tie.patches > 1 for tie in provenance.ties):
        more = any(tie.at_least for tie in provenance.ties)
        yield "alike: patches found at the same distance, such as duplicates" + (
            "; + there may be more" if more else ""
        )
    yield (
        "Every legal patch was compared: none is nearer."
        if provenance.complete
        else "The index found these; distances are exact, and --exact makes sure none is nearer."
    )


def question_line(provenance: Provenance, images: ImageSet) -> str:
    """Pixel, window, dictionary and noise in one line."""
    y, x = provenance.pixel
    s = provenance.patch_size
    noise = f"sigma {provenance.sigma:.3g}" if provenance.sigma else "no noise"
    return (
        f"pixel ({y}, {x}), {s}x{s} window, {provenance.border}, {noise}: "
        f"{provenance.num_patches:,} legal patches in {images.name}"
    )


def with_ties(provenance: Provenance) -> Iterator[tuple[Source, Tie]]:
    """Each source with the tie it is in."""
    ties = [tie for tie in provenance.ties for _ in range(tie.listed)]
    yield from zip(provenance.sources, ties, strict=True)


def table_row(source: Source, tie: Tie, images: ImageSet) -> str:
    """One source."""
    return (
        f"{source.image:>9} {source.y:>4} {source.x:>4} {source.distance:>10.4f} "
        f"{share_of(source.weight):>9} {alike_of(tie):>11}  {class_of(source, images)}"
    ).rstrip()


def alike_of(tie: Tie) -> str:
    """How many patches are at this distance."""
    return f"{tie.patches:,}{'+' if tie.at_least else ''}"


def class_of(source: Source, images: ImageSet) -> str:
    """Name of the source's class, or its number; nothing without labels."""
    if source.label is None:
        return ""
    named = source.label < len(images.class_names)
    return images.class_names[source.label] if named else str(source.label)


def share_of(weight: float) -> str:
    """A share in percent, to two digits where it is small."""
    percent = 100 * weight
    return f"{percent:.1f} %" if percent >= 1 else f"{percent:.2g} %"

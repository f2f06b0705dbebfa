"""What is known of the images that are not listed of a sample, in numbers and in a sentence."""

from dataclasses import dataclass

from sampler.results.json_files import Amount, Count, Share


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """The images that are not listed, by their shares averaged over the steps.

    Attributes:
        num_images: those that have a share as far as is known.
        largest_share: the largest that one of them is known to have.
        average_share: what an image has on average, to compare with: 1 by how many there are.
        effective_images: 1 / sum of squared shares of all images, listed or not; None where the
            shares are not complete.
        effective_patches: effective sample size, averaged over pixels and steps: about so many
            patches share the weight of a pixel.
    """

    num_images: Count
    largest_share: Share
    average_share: Share
    effective_images: Amount | None
    effective_patches: Amount


def complete_sentence(unlisted: float, rest: Rest | None) -> str:
    """What the weight that is not listed means where every image has its share."""
    if rest is None:
        return (
            f"Every training image's share is counted: the {share_text(unlisted)} not listed is "
            "spread over other images."
        )
    if not rest.num_images:
        return "Every training image's share is counted, and all that have any are listed."
    images = "1 other image" if rest.num_images == 1 else f"{rest.num_images:,} other images"
    return (
        f"Every training image's share is counted: the {share_text(unlisted)} not listed is spread "
        f"over {images}, none with more than {share_text(rest.largest_share)}."
    )


def retrieved_sentence(unlisted: float, unattributed: float, rest: Rest | None) -> str:
    """What the weight that is not listed means where patches had to be found first.

    Args:
        unlisted: share of the images that were named but are not listed.
        rest: None in runs of versions that did not tell.
    """
    whose = (
        f"{share_text(unattributed)} is unattributed: it lies in patches that no search found, so "
        "that their images are not known"
    )
    if rest is None:
        return f"{whose}."
    others = ""
    if rest.num_images:
        others = (
            f"; none of the {rest.num_images:,} other images, {share_text(unlisted)} together, is "
            f"known to have more than {share_text(rest.largest_share)}"
        )
    about = float(f"{rest.effective_patches:.2g}")
    return f"{whose} (about {about:,.0f} patches share a pixel){others}."


def share_text(share: float) -> str:
    """A share in percent, to two digits where it is small."""
    percent = 100 * share
    return f"{percent:.1f}%" if percent >= 1 else f"{percent:.2g}%"

"""The posterior of some states as units for a crew, each a pure function of what it is given.

Where every machine can hold a scale, a unit is the whole answer for some states, and no state
needs any other. Beyond that an answer has three rounds of units: which pixels need a head, by
states; what is found for them, by parts of the index, each at its home; and the rest, by states.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from patchindex.crew import Crew
from sampler.estimator import (
    CarriedHead,
    Estimate,
    Found,
    Head,
    KeptHead,
    Query,
    Retrieval,
    Wanted,
    find_sources,
    nearest_of,
    within_tolerance,
)
from sampler.posterior import Posterior


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StatesUnit:
    """Some states of a call.

    Attributes:
        known: what was found for the states before.
        first: number of the first state.
    """

    query: Query
    known: CarriedHead | None
    first: int

    @property
    def states(self) -> range:
        """Their numbers."""
        return range(self.first, self.first + len(self.query.y))

    def loaded(self, part: int | None = None) -> Head | None:
        """What is known, if it is of this patch size; in a part of the index, or all."""
        known = self.known
        if known is None or known.patch_size != self.query.geometry.patch_size:
            return None
        return known.load(self.query.y.device, part) if isinstance(known, KeptHead) else known

    def kept_in(self, folder: Path, parts: int = 1) -> KeptHead:
        """Where a folder has the head of these states."""
        size = self.query.geometry.patch_size
        return KeptHead(folder=folder, patch_size=size, states=self.states, parts=parts)


def answer(
    unit: StatesUnit, retrieval: Retrieval, num_sources: int, keep: Path | None
) -> Posterior:
    """The posterior of a few states, and its sources."""
    estimate = retrieval.estimate(unit.query, known=unit.loaded())
    head = estimate.head
    kept = head if keep is None else KeptHead.write(head, keep, unit.states)
    return _posterior(unit, estimate, retrieval, num_sources, kept)


def answer_by_parts(
    crew: Crew, units: Sequence[StatesUnit], retrieval: Retrieval, num_sources: int,
    keep: Path | None,
) -> list[Posterior]:  # fmt: skip
    """The same for all units, where no machine holds the whole of a scale."""
    wanted = crew.run(_wanted, units, retrieval)
    both = list(zip(units, wanted, strict=True))
    # part by part, so that each has one home
    of_parts = [(unit, pixels, part) for part in range(retrieval.parts) for unit, pixels in both]
    found = crew.run(_find, of_parts, retrieval, keep)
    of_unit = [found[number :: len(units)] for number in range(len(units))]
    finishing = list(zip(units, of_unit, strict=True))
    return crew.run(_finish, finishing, retrieval, num_sources, keep)


def _wanted(unit: StatesUnit, retrieval: Retrieval) -> Wanted:
    return retrieval.wanted(unit.query, retrieval.plan(unit.query), unit.loaded(0))


def _find(unit: tuple[StatesUnit, Wanted, int], retrieval: Retrieval, keep: Path | None) -> Found:
    """What a part of the index has; its ids stay in files, if there is a folder for them."""
    states, wanted, part = unit
    query, known = states.query, states.loaded(part)
    found = retrieval.find(query, retrieval.plan(query), wanted, known, part=part)
    if keep is None:
        return found
    states.kept_in(keep, retrieval.parts).write_ids(nearest_of(query, found), part)
    return None if found is None else found.without_nearest()


def _finish(
    unit: tuple[StatesUnit, list[Found]], retrieval: Retrieval, num_sources: int, keep: Path | None
) -> Posterior:
    """The answer, from what was found in all parts."""
    states, found = unit
    estimate = retrieval.finish(states.query, retrieval.plan(states.query), found)
    if keep is None:
        return _posterior(states, estimate, retrieval, num_sources, estimate.head)
    kept = states.kept_in(keep, retrieval.parts)
    kept.write_sizes(estimate.head)
    return _posterior(states, estimate, retrieval, num_sources, kept)


def _posterior(
    unit: StatesUnit,
    estimate: Estimate,
    retrieval: Retrieval,
    num_sources: int,
    carried: CarriedHead,
) -> Posterior:
    """What an estimate says, to the tolerance, with sources."""
    record, sources = within_tolerance(unit.query, estimate, retrieval), None
    if num_sources:
        head = estimate.head if isinstance(carried, Head) else carried.load(unit.query.y.device)
        sources = find_sources(unit.query, record, head, num_sources)
    return Posterior.from_record(record, sources, carried, estimate.mse_deviation)

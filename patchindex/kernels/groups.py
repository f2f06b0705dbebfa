"""Groups of patches that are summed apart, and which of the patches found for a query are in them.

A patch of a pixel x is a pair of an image and a displacement d, from x to the patch's center. A
group has some images and, of each, the patches at some displacements: its share of them. So all
pixels have about as many patches in a group, and one scan sums them for all pixels together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int, Int32
from torch import Tensor
from torch.nn.functional import pad

from patchindex.records import PosteriorRecord

NO_GROUP = NO_SHARE = -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairGroups:
    """Groups of (image, displacement) pairs.

    Attributes:
        images: numbers of the images of each group; none twice.
        image_shares: of the displacements, the share that each of these images has, from 0 on.
            Fastest where 16 images with the same share follow each other.
        displacement_shares: the share of displacement (dy, dx) at [dy + rows // 2, dx + cols // 2],
            -1 for none. Displacements outside have none. Where the query wraps round, displacements
            that differ by the image's height or width meet the same patch, so their shares must be
            the same.

    Example:
        All displacements of three images in images of 32 x 32, each image in its own group:

        >>> PairGroups(
        ...     images=torch.tensor([[4], [0], [7]]),
        ...     image_shares=torch.zeros(3, 1, dtype=torch.int32),
        ...     displacement_shares=torch.zeros(63, 63, dtype=torch.int32),
        ... )
    """

    images: Int[Tensor, "g m"]
    image_shares: Int32[Tensor, "g m"]
    displacement_shares: Int32[Tensor, "rows cols"]

    @classmethod
    def whole_images(cls, images: Int[Tensor, "g m"], height: int, width: int) -> "PairGroups":
        """Groups of all patches of some images each."""
        shares = torch.zeros(2 * height - 1, 2 * width - 1, dtype=torch.int32, device=images.device)
        return cls(
            images=images,
            image_shares=torch.zeros_like(images, dtype=torch.int32),
            displacement_shares=shares,
        )

    def __len__(self) -> int:
        return len(self.images)

    def of_images(self, num_images: int) -> tuple[Int[Tensor, " n"], Int32[Tensor, " n"]]:
        """The group of each image of a set, -1 for none, and its share."""
        group_of = torch.full((num_images,), NO_GROUP, device=self.images.device)
        share_of = torch.zeros_like(group_of, dtype=torch.int32)
        numbers = torch.arange(len(self.images), device=self.images.device)
        group_of[self.images] = numbers[:, None].expand_as(self.images)
        share_of[self.images] = self.image_shares
        return group_of, share_of

    def shares_at(self, dy: Int[Tensor, "*#q"], dx: Int[Tensor, "*#q"]) -> Int32[Tensor, "*q"]:
        """The share of each displacement, -1 for none; the arguments broadcast."""
        rows, cols = self.displacement_shares.shape
        row, col = dy + rows // 2, dx + cols // 2
        inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
        shares = self.displacement_shares[row.clamp(0, rows - 1), col.clamp(0, cols - 1)]
        return shares.where(inside, NO_SHARE)

    def displacements_of(self, share: int) -> frozenset[tuple[int, int]]:
        """The displacements (dy, dx) of a share."""
        rows, cols = self.displacement_shares.shape
        dy, dx = (self.displacement_shares == share).nonzero(as_tuple=True)
        return frozenset(zip((dy - rows // 2).tolist(), (dx - cols // 2).tolist(), strict=True))

    def group_of(
        self,
        num_images: int,
        image: Int[Tensor, "*q"],
        dy: Int[Tensor, "*q"],
        dx: Int[Tensor, "*q"],
    ) -> Int[Tensor, "*q"]:
        """The group of each pair of an image of a set and a displacement; -1 for none."""
        group_of, share_of = self.of_images(num_images)
        return group_of[image].where(self.shares_at(dy, dx) == share_of[image], NO_GROUP)

    def to(self, device: torch.device) -> "PairGroups":
        """The same on a device."""
        return replace(
            self, **{field.name: getattr(self, field.name).to(device) for field in fields(self)}
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupSets:
    """Groups of pairs for the queries of some border signatures, others for those of others.

    They lie side by side, so that a device gets them, and asks them, all at once.

    Attributes:
        images, image_shares: of each set; -1 behind the last.
        displacement_shares: of each set, with displacement 0 in the middle; -1 outside.
        set_of: of each border signature, the position of its set; -1 for none.
        sizes: of each set, groups, images in a group, and rows and columns of displacements.

    Example:
        >>> sets = GroupSets.of([inside, edges], [1, 1, 1, 1, 0, 1, 1, 1, 1])
        >>> sets.of_signature(4)  # inside
    """

    images: Int[Tensor, "sets g m"]
    image_shares: Int32[Tensor, "sets g m"]
    displacement_shares: Int32[Tensor, "sets rows cols"]
    set_of: Int[Tensor, " signatures"]
    sizes: tuple[tuple[int, int, int, int], ...]

    @classmethod
    def of(cls, sets: Sequence[PairGroups], set_of: Sequence[int]) -> "GroupSets":
        """These sets, of which there must be one at least; `set_of` as the attribute."""
        sizes = tuple((*each.images.shape, *each.displacement_shares.shape) for each in sets)
        groups, members, rows, cols = (max(size) for size in zip(*sizes, strict=True))
        images = [(each.images, each.image_shares) for each in sets]
        behind = [(0, members - m, 0, groups - g) for g, m, _, _ in sizes]
        around = [
            ((cols - width) // 2,) * 2 + ((rows - height) // 2,) * 2
            for _, _, height, width in sizes
        ]
        return cls(
            images=torch.stack(
                [pad(i, by, value=-1) for (i, _), by in zip(images, behind, strict=True)]
            ),
            image_shares=torch.stack(
                [pad(s, by, value=-1) for (_, s), by in zip(images, behind, strict=True)]
            ),
            displacement_shares=torch.stack(
                [
                    pad(each.displacement_shares, by, value=NO_SHARE)
                    for each, by in zip(sets, around, strict=True)
                ]
            ),
            set_of=torch.tensor(set_of),
            sizes=sizes,
        )

    def __getitem__(self, number: int) -> PairGroups:
        """One of the sets, as a view."""
        groups, members, height, width = self.sizes[number]
        rows, cols = self.displacement_shares.shape[1:]
        top, left = (rows - height) // 2, (cols - width) // 2
        return PairGroups(
            images=self.images[number, :groups, :members],
            image_shares=self.image_shares[number, :groups, :members],
            displacement_shares=self.displacement_shares[
                number, top : top + height, left : left + width
            ],
        )

    def of_signature(self, signature: int) -> PairGroups | None:
        """The set of a border signature."""
        number = int(self.set_of[signature])
        return None if number < 0 else self[number]

    def group_of(
        self,
        num_images: int,
        numbers: Int[Tensor, " q"],
        image: Int[Tensor, "q k"],
        dy: Int[Tensor, "q k"],
        dx: Int[Tensor, "q k"],
    ) -> Int[Tensor, "q k"]:
        """The group of each pair in the set of its query's signature; -1 for none."""
        sets, groups, members = self.images.shape
        device = self.images.device
        # one place more than there are images, for what only fills up
        where = self.images.where(self.images >= 0, num_images).flatten(1)
        group_of = torch.full((sets, num_images + 1), NO_GROUP, device=device)
        share_of = torch.zeros_like(group_of, dtype=torch.int32)
        own = torch.arange(groups, device=device)[:, None].expand(groups, members).reshape(1, -1)
        group_of.scatter_(1, where, own.expand(sets, -1))
        share_of.scatter_(1, where, self.image_shares.flatten(1))
        which = self.set_of[numbers][:, None]
        at, (rows, cols) = which.clamp(min=0), self.displacement_shares.shape[1:]
        shares = self.displacement_shares[at, dy + rows // 2, dx + cols // 2]
        member = (which >= 0) & (shares == share_of[at, image])
        return group_of[at, image].where(member, NO_GROUP)

    def to(self, device: torch.device) -> "GroupSets":
        """The same on a device."""
        moved = ("images", "image_shares", "displacement_shares", "set_of")
        return replace(self, **{name: getattr(self, name).to(device) for name in moved})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupMembers:
    """Patches of queries that are in groups, one entry per patch and query.

    Attributes:
        query, group: positions; behind the last query for those that count for none.
        log_weights: -distance^2 / (2 sigma^2).
        centers: in [-1, 1].
    """

    query: Int[Tensor, " m"]
    group: Int[Tensor, " m"]
    log_weights: Float[Tensor, " m"]
    centers: Float[Tensor, "m c"]

    @classmethod
    def none(cls, channels: int, device: torch.device | None = None) -> "GroupMembers":
        """No patch at all."""
        nothing = torch.zeros(0, dtype=torch.int64, device=device)
        return cls(
            query=nothing,
            group=nothing,
            log_weights=torch.zeros(0, device=device),
            centers=torch.zeros(0, channels, device=device),
        )

    @classmethod
    def joined(cls, parts: Sequence["GroupMembers"]) -> "GroupMembers":
        """The entries of all parts, of which there must be one at least."""
        return cls(
            **{
                field.name: torch.cat([getattr(part, field.name) for part in parts])
                for field in fields(cls)
            }
        )

    def of_queries(self, positions: Int[Tensor, " q"]) -> "GroupMembers":
        """The same entries, of queries that are elsewhere."""
        return replace(self, query=positions[self.query])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatchSums:
    """What summing given patches for queries leaves.

    Attributes:
        record: their sums; fields are [q].
        members: those of them that are in groups.
        nearest: ids of the nearest ones of each query, of equally near ones those with the smaller
            ids, in any order; -1 where there are fewer.
    """

    record: PosteriorRecord
    members: GroupMembers
    nearest: Int[Tensor, "q num_nearest"]

    @classmethod
    def none(
        cls, num_queries: int, channels: int, num_nearest: int, device: torch.device | None = None
    ) -> "PatchSums":
        """Of no patch at all."""
        return cls(
            record=PosteriorRecord.empty((num_queries,), channels, device),
            members=GroupMembers.none(channels, device),
            nearest=torch.full((num_queries, num_nearest), -1, device=device),
        )

    @classmethod
    def merged(cls, parts: Sequence["PatchSums"]) -> "PatchSums | None":
        """Of different patches for the same queries, with the nearest of each; None of none."""
        if len(parts) <= 1:
            return parts[0] if parts else None
        return cls(
            record=PosteriorRecord.merged([part.record for part in parts]),
            members=GroupMembers.joined([part.members for part in parts]),
            nearest=torch.cat([part.nearest for part in parts], dim=1),
        )

    @classmethod
    def of_queries(
        cls,
        places: Sequence[Int[Tensor, " _"]],
        parts: Sequence["PatchSums"],
        num_nearest: int,
    ) -> "PatchSums":
        """Sums for some queries each as those of all, of which every one has a place in a part."""
        order = torch.cat(list(places)).argsort()
        members = [
            replace(part.members, query=at[part.members.query])
            for at, part in zip(places, parts, strict=True)
        ]
        nearest = [
            pad(part.nearest, (0, num_nearest - part.nearest.shape[1]), value=-1) for part in parts
        ]
        record = PosteriorRecord.joined([part.record for part in parts])
        return cls(
            record=record.map(lambda field: field[order]),
            members=GroupMembers.joined(members),
            nearest=torch.cat(nearest)[order],
        )

    def without_nearest(self) -> "PatchSums":
        """The sums alone."""
        return replace(self, nearest=self.nearest[:, :0])

    def with_queries(self, at: Int[Tensor, " m"], other: "PatchSums") -> "PatchSums":
        """These with the queries at these places taken from others, which have no more nearest.

        Members that the queries had belong to none then: their query is behind the last.
        """
        rows = self.record.rows
        rows.put(at, other.record)
        members = replace(other.members, query=at[other.members.query])
        if len(self.members.query):
            # one place more, for those that belong to none already
            taken = torch.arange(len(self.nearest) + 1, device=at.device)
            taken = taken.index_fill_(0, at, len(self.nearest))
            members = GroupMembers.joined([self.members.of_queries(taken), members])
        room = self.nearest.shape[1] - other.nearest.shape[1]
        nearest = pad(other.nearest, (0, room), value=-1) if room else other.nearest
        return PatchSums(
            record=rows.record, members=members, nearest=self.nearest.index_copy(0, at, nearest)
        )

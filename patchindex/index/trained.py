"""The learned part of one scale, as plain arrays and as the FAISS objects made of them."""

from dataclasses import dataclass

import faiss
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

CODE_LEVELS = 255


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedScale:
    """What lists and codes see of a window is the vector `pca @ window + pca_bias`.

    Attributes:
        centroids: of each list, in list order; by the leading dimensions only.
        signature_lists: first list of each border signature, and the number of lists.
        code_min, code_span: codes 0..255 divide `code_min .. code_min + code_span`.
        explained_variance: share of the windows' variance in the leading dimensions up to each.
    """

    pca: Float[ndarray, "r d"]
    pca_bias: Float[ndarray, " r"]
    centroids: Float[ndarray, "nlist lead"]
    signature_lists: Int[ndarray, " signatures_plus_1"]
    code_min: Float[ndarray, " r"]
    code_span: Float[ndarray, " r"]
    explained_variance: Float[ndarray, " r"]

    @property
    def nlist(self) -> int:
        """Inverted lists of all signatures together."""
        return len(self.centroids)

    def empty_index(self) -> faiss.IndexIVFScalarQuantizer:
        """A trained FAISS index of all lists with nothing in them."""
        dims = len(self.pca)
        coarse = faiss.IndexFlatL2(dims)
        # zero is the mean of the dimensions left out: they add the same to every distance
        coarse.add(np.pad(self.centroids, ((0, 0), (0, dims - self.centroids.shape[1]))))
        index = faiss.IndexIVFScalarQuantizer(
            coarse, dims, self.nlist, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_L2, False
        )
        coarse.this.disown()  # the index owns it from here on, also after Python forgets it
        index.own_fields = True
        ranges = np.concatenate([self.code_min, self.code_span]).astype(np.float32)
        faiss.copy_array_to_vector(ranges, index.sq.trained)
        index.is_trained = True
        return index


def encode(
    vectors: Float[Tensor, "m r"], code_min: Float[Tensor, " r"], code_span: Float[Tensor, " r"]
) -> UInt8[Tensor, "m r"]:
    """One byte per dimension, as FAISS's scalar quantizer rounds; where the vectors lie."""
    return (vectors - code_min).div_(code_span).clamp_(0, 1).mul_(CODE_LEVELS).to(torch.uint8)


def decode(
    codes: UInt8[ndarray, "*m r"], code_min: Float[ndarray, " r"], code_span: Float[ndarray, " r"]
) -> Float[ndarray, "*m r"]:
    """The vectors that FAISS takes these codes for; all that a reader without FAISS needs."""
    middle = (codes.astype(np.float32) + np.float32(0.5)) / CODE_LEVELS
    vectors: Float[ndarray, "*m r"] = code_min + middle * code_span
    return vectors

"""A scale of an index as a plain FAISS index, which takes windows and gives patch ids."""

import faiss
import numpy as np

from patchindex.index.list_search.faiss import ScaleSearcher
from patchindex.index.scale import ScaleArrays


def as_faiss(arrays: ScaleArrays) -> faiss.IndexPreTransform:
    """All lists of a scale in memory, behind the projection that codes are made by.

    Raises:
        StoreError: a list is damaged.
    """
    searcher = ScaleSearcher(arrays)
    searcher.fill(np.arange(len(arrays.count))[None])
    dims, d = arrays.pca.shape
    projection = faiss.LinearTransform(d, dims, True)
    faiss.copy_array_to_vector(np.ravel(arrays.pca), projection.A)
    faiss.copy_array_to_vector(np.ravel(arrays.pca_bias), projection.b)
    projection.is_trained = True
    return faiss.IndexPreTransform(projection, searcher.index)

"""What takes long to import, and so must wait until it is needed."""

HEAVY = {
    "torch",
    "torchvision",
    "numpy",
    "faiss",
    "zarr",
    "matplotlib",
    "pydantic",
    "triton",
    "tqdm",
    "jaxtyping",
    "dask",
}

"""Errors of libraries that say that memory or threads are too few, whatever was computed."""

# how torch, FAISS, the C++ kernels, the linker and oneDNN say that there is no memory
_NO_MEMORY = (
    "allocate memory", "not enough memory", "bad_alloc", "failed to map segment",
    "could not create a primitive",
)  # fmt: skip
_NO_THREAD = ("start new thread", "resource temporarily unavailable")


def is_shortage(error: BaseException) -> bool:
    """Whether memory, a GPU's too, or threads were too few.

    Example:
        >>> is_shortage(MemoryError())
        True
    """
    return is_full_gpu(error) or is_full_memory(error) or is_without_threads(error)


def is_full_gpu(error: BaseException) -> bool:
    """Whether torch, CUDA itself or FAISS found no room on the GPU."""
    told = str(error).lower()
    full = isinstance(error, RuntimeError) and "out of memory" in told and "cuda" in told
    # by its name: an error in the command line itself should not wait seconds for torch
    return full or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)


def is_full_memory(error: BaseException) -> bool:
    """Whether the host's memory is too small."""
    return isinstance(error, MemoryError) or _says(error, _NO_MEMORY)


def is_without_threads(error: BaseException) -> bool:
    """Whether no thread could be started."""
    return _says(error, _NO_THREAD)


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    """Whether the error of a library has any of these words."""
    of_a_library = isinstance(error, RuntimeError | ImportError)
    return of_a_library and any(word in str(error).lower() for word in words)

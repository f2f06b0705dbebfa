"""What the machine refused a command, as one line: memory, threads, disk, descriptors, paths."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import torch

MAKE_ROOM = (
    "Lower --device-memory, so that less stays there; then the number of samples (--num), where "
    "there is one; or give --device cpu."
)
LESS_WORK = "Give fewer samples (--num) or images (--limit), or raise the limit of this process."
# how torch, FAISS, the C++ kernels, the linker and oneDNN say that there is no memory
NO_MEMORY = (
    "allocate memory", "not enough memory", "bad_alloc", "failed to map segment",
    "could not create a primitive",
)  # fmt: skip
NO_THREAD = ("start new thread", "resource temporarily unavailable")
NUL = ("embedded null byte", "embedded null character")
REMEDIES = {
    errno.ENOSPC: "Free some space, or give another --out.",
    errno.EDQUOT: "Free some space, or give another --out.",
    errno.EFBIG: "Raise the largest size of a file for this process (`ulimit -f unlimited`).",
    errno.EMFILE: "Let this process open more files (`ulimit -n 1024`).",
    errno.ENFILE: "Close other programs, or let the system open more files.",
    errno.ENOMEM: LESS_WORK,
    errno.EACCES: "Mend its permissions, or give another path.",
    errno.EPERM: "Mend its permissions, or give another path.",
    errno.EROFS: "Give a path that can be written to.",
    errno.ENAMETOOLONG: "Give a shorter one.",
    errno.ELOOP: "Give a path whose links lead somewhere.",
    errno.EIO: "Look after the disk, or give another path.",
}
# these are the user's only of a path that is not ours
OF_A_PATH = {
    errno.ENOENT: "Give a path that exists.",
    errno.ENOTDIR: "Give a path that exists.",
    errno.EISDIR: "Give the path of a file.",
}
OURS = tuple(
    Path(__file__).resolve().parents[1] / name for name in ("patchindex", "sampler", "cli")
)
LONGEST = 80


def told_shortage(error: BaseException) -> str | None:
    """What was refused and what to do; None if the error is none of the user's."""
    for each in chain(error):
        if isinstance(each, OSError) and (told := told_refusal(each)):
            return told
        if is_full_gpu(each):
            return f"{what_was_full(each)} {MAKE_ROOM}"
        if isinstance(each, MemoryError) or says(each, NO_MEMORY):
            return f"there is not enough memory. {LESS_WORK}"
        if says(each, NO_THREAD):
            return f"no thread can be started: memory or processes are too few. {LESS_WORK}"
        if isinstance(each, ValueError) and str(each).startswith(NUL):
            return "a path or name holds a NUL character. Give one without."
    return None


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those that it is said to have come of."""
    while error is not None:
        yield error
        error = error.__cause__


def says(error: BaseException, words: tuple[str, ...]) -> bool:
    """Whether the error of a library has any of these words."""
    of_a_library = isinstance(error, RuntimeError | ImportError)
    return of_a_library and any(word in str(error).lower() for word in words)


def told_refusal(error: OSError) -> str | None:
    """What the operating system refused; None where it may be our own bug."""
    remedy = REMEDIES.get(error.errno or 0)
    name = None if error.filename is None else os.fsdecode(error.filename)
    if remedy is None and name is not None and not is_ours(name):
        remedy = OF_A_PATH.get(error.errno or 0)
    if remedy is None:
        return None
    where = "" if name is None else f"{shortened(name)}: "
    return f"{where}{os.strerror(error.errno or 0)}. {remedy}"


def is_ours(name: str) -> bool:
    """Whether a path lies in this installation, whose files no user names."""
    return any(Path(name).absolute().is_relative_to(folder) for folder in OURS)


def shortened(name: str) -> str:
    """A path that fits into a line."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}...{name[-LONGEST // 4 :]}"


def is_full_gpu(error: BaseException) -> bool:
    """Whether torch, CUDA itself or FAISS found no room on the GPU."""
    told = str(error).lower()
    full = isinstance(error, RuntimeError) and "out of memory" in told and "cuda" in told
    return full or isinstance(error, torch.cuda.OutOfMemoryError)


def what_was_full(error: BaseException) -> str:
    """The first sentences of the message, which say how much was wanted and what there was."""
    known, _, _ = str(error).partition("\n")[0].partition(" Including ")
    return f"the GPU's memory is full ({known.strip().rstrip('.')})."

"""What goes over the wire: units, what they share, and results.

Tensors arrive on the device where the reader computes. An index is sent as its path and digest, and
opened once where it arrives.
"""

import io
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from patchindex.images import shared_tensor
from patchindex.index import PatchIndex, Pickled

Packed = tuple[bytes, ...]  # a pickle, and the buffers that it refers to


def pack(value: Any) -> Packed:
    """The value as bytes."""
    buffers: list[pickle.PickleBuffer] = []
    file = io.BytesIO()
    _Pickler(file, protocol=5, buffer_callback=buffers.append).dump(value)
    return file.getvalue(), *(buffer.raw().tobytes() for buffer in buffers)


def unpack(packed: Packed, place: torch.device, open_index: Callable[[Pickled], PatchIndex]) -> Any:
    """The value that was packed.

    Args:
        place: where tensors shall lie.
        open_index: opens an index that was sent.
    """
    return _Unpickler(packed, place, open_index).load()


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> tuple[str, Any] | None:
        """Tensors and indices, which are not pickled as what they hold."""
        if isinstance(obj, Tensor):
            return "tensor", obj.detach().cpu().numpy()
        if isinstance(obj, PatchIndex):
            return "index", obj.pickled()
        return None


class _Unpickler(pickle.Unpickler):
    def __init__(
        self,
        packed: Packed,
        place: torch.device,
        open_index: Callable[[Pickled], PatchIndex],
    ) -> None:
        super().__init__(io.BytesIO(packed[0]), buffers=packed[1:])
        self._place, self._open_index = place, open_index

    def persistent_load(self, pid: tuple[str, Any]) -> Any:
        """What `_Pickler.persistent_id` stands for."""
        kind, value = pid
        if kind == "index":
            return self._open_index(value)
        # a copy: nobody may write into the bytes that arrived
        return shared_tensor(value).to(self._place, copy=True)

"""How code of the user's own is called: what it raises is told with what it was asked."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from patchindex import UserError
from patchindex.shortage import is_shortage
from sampler.denoiser import Images
from sampler.errors import NetworkError, reason

FEW = 3  # numbers of a vector that a message names
_FIT = "Give a module that takes these, or name others: time, whole_steps, num_classes."


class NetworkCallError(NetworkError):
    """A network whose own code failed; `__cause__` is what it raised."""


def ask(
    function: Callable[..., Any], asked: Mapping[str, object], *, who: str, remedy: str = _FIT
) -> Any:
    """What the user's function returns for these values, given to it in this order.

    Args:
        asked: values by name; None stands for one that is left out.
        who: is called, for people.
        remedy: the last sentence of the error.

    Raises:
        NetworkCallError: it raised something. Errors of ours, and those that say that memory is
            too small, pass as they are.
    """
    try:
        return function(*(value for value in asked.values() if value is not None))
    except UserError:
        raise
    except Exception as error:
        if is_shortage(error):
            raise
        called = ", ".join(_shown(name, value) for name, value in asked.items())
        raise NetworkCallError(
            f"{who} was called with {called}, and raised {type(error).__name__}: {reason(error)}. "
            f"{remedy}"
        ) from error


def ask_module(module: Callable[..., Any], asked: Mapping[str, object], *, who: str) -> Images:
    """As `ask`, of a module of (x, time, label): its prediction, which is as large as x.

    Raises:
        NetworkError: it returns something else.
    """
    found, x = ask(module, asked, who=who), next(iter(asked.values()))
    if not isinstance(found, Tensor):
        raise NetworkError(
            f"{who} returns a {type(found).__name__}. Return a tensor as large as the states; of "
            "an output that holds one, wrap the module in a function that takes it out."
        )
    if isinstance(x, Tensor) and found.shape != x.shape:
        raise NetworkError(
            f"{who} returns shape {tuple(found.shape)} for states of {tuple(x.shape)}. "
            "Its output must be as large as its input."
        )
    return found


def _shown(name: str, value: object) -> str:
    """An argument in a few words: type, shape, and the first numbers of a vector."""
    if value is None:
        return f"no {name}"
    if not isinstance(value, Tensor):
        return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
    described = f"{name} {str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if value.ndim != 1:
        return described
    try:
        first = value[:FEW].tolist()
    except RuntimeError:  # a GPU whose kernel failed answers nothing more
        return described
    more = ", ..." if len(value) > FEW else ""
    return f"{described} ({', '.join(f'{number:g}' for number in first)}{more})"

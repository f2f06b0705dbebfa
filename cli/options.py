"""Options that several commands share, and the device that they choose."""

from collections.abc import Callable
from functools import wraps
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
import torch
from click.core import ParameterSource

from patchindex import Boundary
from patchindex.device import Device
from patchindex.kernels.backend import has_triton
from sampler.errors import SamplerConfigError
from sampler.results.run_result import SamplerConfig
from sampler.schedule import SCHEDULES, parse_sigmas
from sampler.trajectory import Sampler

GIGABYTE = 1e9


def flag_of(context: click.Context, name: str) -> str | None:
    """The option of this parameter as people write it, if it was given on the command line."""
    if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
        return None
    return next(part.opts[0] for part in context.command.params if part.name == name)


device_option = click.option(
    "--device", metavar="auto|cpu|cuda[:N]", default="auto", show_default=True,
    help="Where to compute; auto takes a GPU if there is one, cuda shares exact scans among all.",
)  # fmt: skip
memory_option = click.option(
    "--device-memory", type=float, metavar="GB",
    help="Images and lists that may stay on the GPU; the rest is streamed. "
    "[default: 70 % of what is free]",
)  # fmt: skip


def device_options(command: Callable[..., None]) -> Callable[..., None]:
    """Both options; the command is given the `Device`."""

    @wraps(command)
    def opened(*, device: str, device_memory: float | None, **settings: Any) -> None:
        memory = None if device_memory is None else memory_bytes(device_memory)
        command(device=open_device(device, memory=memory, kernels=True), **settings)

    return device_option(memory_option(opened))


def open_device(name: str, *, memory: int | None = None, kernels: bool = False) -> Device:
    """The device.

    Args:
        memory: bytes of images and lists that may stay there; None for the default.
        kernels: not torch alone computes there, but our kernels too; where these cannot, auto
            takes no GPU.

    Raises:
        SamplerConfigError: no such device, or none here.
    """
    if name == "auto":
        usable = torch.cuda.is_available() and (has_triton() or not kernels)
        return Device("cuda" if usable else "cpu", memory=memory)
    try:
        place = torch.device(name)
    except RuntimeError:
        place = None
    if place is None or place.type not in {"cpu", "cuda"}:
        raise SamplerConfigError(f"device is {name!r}. Give auto, cpu or cuda.")
    if place.type == "cpu":
        return Device(place, memory=memory)
    if (place.index or 0) >= torch.cuda.device_count():
        raise SamplerConfigError(
            f"device {name} was asked for, but torch finds {torch.cuda.device_count() or 'no'} GPU "
            "here. Give --device cpu."
        )
    everything = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    return Device(place, memory=memory, sharing=everything if place.index is None else ())


def memory_bytes(gigabytes: float) -> int:
    """So many gigabytes of device memory.

    Raises:
        SamplerConfigError: a negative number, or none at all.
    """
    if not (isfinite(gigabytes) and gigabytes >= 0):
        raise SamplerConfigError(
            f"device memory is {gigabytes:g} GB. Give 0, to keep nothing on the GPU, or more."
        )
    return round(gigabytes * GIGABYTE)


DEFAULTS = SamplerConfig()
Command = TypeVar("Command", bound=Callable[..., None])


def with_default(name: str) -> dict[str, Any]:
    """Default and its display, from the one place that holds it."""
    return {"default": getattr(DEFAULTS, name), "show_default": True}


def options(*group: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """A decorator that gives a command all options of a group, in their order."""

    def decorate(command: Command) -> Command:
        for option in reversed(group):
            command = option(command)
        return command

    return decorate


class IndexPath(click.Path):
    """A path; an address of object storage stays as it is, for whoever copies it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.ParamType`."""
        return value if "://" in str(value) else super().convert(value, param, ctx)


index_option = click.option(
    "--index",
    "index_path",
    metavar="PATH",
    type=IndexPath(path_type=Path),
    help="Index to retrieve from. [default: the newest in the user's home]",
)

dataset_option = click.option(
    "--dataset",
    metavar="NAME|folder:PATH|npz:PATH",
    help="Sum over these images exactly, without an index.",
)
boundary_option = click.option(
    "--boundary",
    metavar="|".join(get_args(Boundary)),
    help="Border rule with --dataset; an index has its own. [default: zeros]",
)
exact_option = click.option(
    "--exact", is_flag=True, help="Sum over every patch of the index's images."
)

IMAGE_SETTINGS = ("resolution", "crop", "limit")  # as `ImageSet.load` calls them
crop_option = click.option(
    "--crop",
    metavar="none|center",
    help="Stretch images of another aspect ratio than --resolution, or cut them to it around their "
    "center. [default: none; center for celeba]",
)
image_options = options(
    click.option(
        "--resolution",
        metavar="PIXELS|HxW|native",
        help="Size of a --dataset's images: a side, or height x width, such as 48x32. "
        "[default: the dataset's own]",
    ),
    crop_option,
    click.option("--limit", type=int, metavar="IMAGES", help="Take the first of a --dataset only."),
)

retrieval_options = options(
    click.option(
        "--k",
        type=int,
        metavar="PATCHES",
        **with_default("k"),
        help="Retrieved per pixel that is searched.",
    ),
    click.option(
        "--tail",
        type=int,
        metavar="NUMBER",
        **with_default("tail"),
        help="Sets what is drawn at random besides: each pixel meets about 64 x tail patches; "
        "0 gives the biased naive average.",
    ),
    click.option(
        "--nprobe",
        type=int,
        metavar="LISTS",
        **with_default("nprobe"),
        help="Inverted lists visited per pixel that is searched, four times as many at first.",
    ),
    click.option(
        "--parts",
        type=int,
        metavar="NUMBER",
        help="Find patches in so many parts of the index, each at its own home. "
        "[default: 1, or as many as the memory of a cluster's workers asks for]",
    ),
    click.option(
        "--tolerance",
        type=float,
        metavar="ERROR",
        help="Estimate pixels again whose standard error is larger, or unknown, with four times "
        "the probes and draws; then sum exactly. [default: accept all]",
    ),
)

scales_option = click.option(
    "--scales",
    metavar="NAME|FILE|P,P,...",
    help="Patch size per noise level, lowest noise first. [default: an index's own, placed as the "
    "published ones of its dataset; without an index the published ones]",
)
steps_option = click.option("--steps", type=int, **with_default("steps"))
schedule_option = click.option(
    "--schedule", metavar="|".join(SCHEDULES), **with_default("schedule")
)
networks_schedule_option = click.option(
    "--schedule",
    metavar="|".join(SCHEDULES),
    help="Noise levels of all that sample. [default: the network's own]",
)
sampler_option = click.option(
    "--sampler", metavar="|".join(get_args(Sampler)), **with_default("sampler")
)


def sigmas_option(command: Callable[..., None]) -> Callable[..., None]:
    """--sigmas, which says all that --steps and --schedule would."""

    @wraps(command)
    def checked(*, sigmas: str | None, **settings: Any) -> None:
        given = None if sigmas is None else parse_sigmas(sigmas)
        context = click.get_current_context()
        for name in ("steps", "schedule"):
            if given and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise SamplerConfigError(
                    f"both --sigmas and --{name} were given. Give the noise levels themselves, or "
                    "a schedule and a number of steps."
                )
        command(sigmas=given, **settings)

    return click.option(
        "--sigmas",
        metavar="S,S,...|FILE",
        help="The noise levels themselves in data units, falling, in place of --schedule and "
        "--steps.",
    )(checked)


process_options = options(
    scales_option, steps_option, schedule_option, sigmas_option, sampler_option
)

seed_option = click.option("--seed", type=int, **with_default("seed"))
label_option = click.option(
    "--label", type=int, help="Class number to sample; others are left out."
)
threads_option = click.option(
    "--threads", type=int, metavar="N", help="Processor threads. [default: all cores]"
)


def out_option(default: str) -> Callable[[Command], Command]:
    """--out, with the default folder as words."""
    return click.option(
        "--out", type=click.Path(path_type=Path), metavar="DIR", help=f"[default: {default}]"
    )

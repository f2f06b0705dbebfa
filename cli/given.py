"""What was given on the command line or in its file, and the texts that stand for numbers."""

from pathlib import Path

import click
from click.core import ParameterSource

from cli.config_file import was_given
from patchindex.choices import ListSearchKind
from sampler.errors import SamplerConfigError
from sampler.schedule import parse_sigmas


def flag_of(context: click.Context, name: str) -> str | None:
    """The option of this parameter as people write it, if it was given on the command line."""
    if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
        return None
    return next(part.opts[0] for part in context.command.params if part.name == name)


def sigmas_given(text: str | None) -> tuple[float, ...] | None:
    """The noise levels of --sigmas, which says all that a number of steps and a schedule would.

    Raises:
        SamplerConfigError: they cannot be read, or steps or a schedule were given besides.
    """
    if text is None:
        return None
    sigmas = parse_sigmas(text)
    context = click.get_current_context()
    for name in ("steps", "schedule"):
        if was_given(context, name):
            raise SamplerConfigError(
                f"both --sigmas and --{name} were given. Give the noise levels themselves, or "
                "a schedule and a number of steps."
            )
    if was_given(context, "network_steps"):
        raise SamplerConfigError(
            "both --sigmas and --network-steps were given. The network samples at the noise levels "
            "of --sigmas, too; leave --network-steps out."
        )
    return sigmas


def index_given(opened: str | None) -> Path | str | None:
    """The index of a result as an option gives it: by its address, if it was copied from one."""
    asked: Path | str | None = click.get_current_context().params.get("index_path")
    return asked if isinstance(asked, str) else opened


def list_search_given() -> ListSearchKind:
    """Who searches inverted lists, as an option says; `auto` where there is none."""
    context = click.get_current_context(silent=True)
    asked: ListSearchKind = "auto" if context is None else context.params.get("list_search", "auto")
    return asked


def device_given(place: object) -> str:
    """The device as an option gives it: that which was taken, if any would do."""
    asked = str(click.get_current_context().params["device"])
    return str(place) if asked == "auto" else asked


def parse_pixel(text: str) -> tuple[int, int]:
    """Row and column from "12,7"."""
    try:
        y, x = (int(part) for part in text.split(","))
    except ValueError:
        raise SamplerConfigError(
            f"pixel {text!r} is no row and column. Give two whole numbers, such as 12,7."
        ) from None
    return y, x

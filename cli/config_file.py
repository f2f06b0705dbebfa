"""`--config`: options of a command from a YAML file, and the file that says what was resolved.

A file has the long names of options without their dashes, and values as on the command line. What
the command line says wins, and so does it over what does not go together with it.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import yaml
from click.core import ParameterSource

from sampler.choices import CONFIG_FILE
from sampler.errors import SamplerConfigError, reason, shown

ON_THE_LINE = "cli.on_the_line"  # of a context: parameters that the command line names
LARGEST_FILE = 1_000_000  # bytes; all options take some thousand
# not of the results: where they go, and who makes them how fast
_OF_THIS_CALL = (
    "out", "overwrite", "as_json", "threads", "device_memory", "cluster", "mixed", "stage"
)  # fmt: skip
_WORDS = {
    type(click.INT): "a whole number", click.IntRange: "a whole number",
    type(click.FLOAT): "a number",
}  # fmt: skip
_RETRIEVAL = ("k", "tail", "nprobe", "parts", "tolerance", "retrieve", "strict_scales")
# what each option leaves no place for
RIVALS = {
    "sigmas": ("steps", "schedule", "network_steps", "reference_steps"),
    **dict.fromkeys(("steps", "schedule", "network_steps"), ("sigmas",)),
    "index_path": ("dataset", "resolution", "crop", "limit", "boundary"),
    "dataset": ("index_path", "exact", "retrieve"),
    **dict.fromkeys(_RETRIEVAL, ("exact",)),
    "exact": ("retrieve",),
}


def was_given(ctx: click.Context, name: str) -> bool:
    """Whether an option was given, on the command line or in a file."""
    given = (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)
    return ctx.get_parameter_source(name) in given


def read_config(ctx: click.Context, _param: click.Parameter, path: Path | None) -> None:
    """Take the defaults of a command's options from a file.

    Raises:
        SamplerConfigError: no such file, no YAML, an unknown key, or a value of the wrong type.
    """
    if path is None or ctx.resilient_parsing:
        return
    known = dict(_named_options(ctx.command))
    settings = {}
    for key, value in _read(path).items():
        if key not in known:
            near = get_close_matches(str(key), known, n=3)
            hint = f"Did you mean {' or '.join(near)}?" if near else "See --help for all."
            raise SamplerConfigError(f"{path}: {ctx.info_name} has no option {shown(key)}. {hint}")
        if value is not None:
            option = known[key]
            settings[str(option.name)] = _checked(value, option, ctx, f"{path}: {key}")
    on_the_line = ctx.meta.get(ON_THE_LINE, frozenset())
    beaten = {rival for name in on_the_line for rival in RIVALS.get(name, ())}
    ctx.default_map = {name: settings[name] for name in settings.keys() - beaten}


def _named_options(command: click.Command) -> Iterator[tuple[str, click.Option]]:
    """The options that a file may have, by the name that it has for them."""
    for option in command.params:
        if isinstance(option, click.Option) and not option.is_eager:
            yield option.opts[0].lstrip("-"), option


def _read(path: Path) -> Mapping[Any, Any]:
    """The keys and values of a file."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise SamplerConfigError(f"{path} is too large to be a file of options.")
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SamplerConfigError(
            f"{path} cannot be read ({error.strerror}). Give a YAML file of options."
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SamplerConfigError(f"{path} is no YAML file of options: {reason(error)}.") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SamplerConfigError(f"{path} has no `option: value` lines, such as `steps: 20`.")
    return values


def _checked(value: Any, option: click.Option, ctx: click.Context, where: str) -> Any:
    """The value as the command line gives it.

    Raises:
        SamplerConfigError: it has the wrong type.
    """
    if option.is_flag:
        if not isinstance(value, bool):
            raise SamplerConfigError(f"{where} is {shown(value)}. Give true or false.")
        return value
    if option.multiple:
        listed = value if isinstance(value, list) else [value]
        return [_converted(each, option, ctx, where) for each in listed]
    if isinstance(value, list) and ",..." in (option.metavar or ""):
        return ",".join(str(_converted(each, option, ctx, where)) for each in value)
    return _converted(value, option, ctx, where)


def _converted(value: Any, option: click.Option, ctx: click.Context, where: str) -> Any:
    """One value of an option."""
    wanted = _WORDS.get(type(option.type), "a text")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise SamplerConfigError(f"{where} is {shown(value)}. Give {wanted}.")
    try:
        return option.type.convert(str(value), option, ctx)
    except click.UsageError as error:
        told = error.message.rstrip(".")
        raise SamplerConfigError(f"{where} is {shown(value)}: {told}. Give {wanted}.") from error


def resolved_config(**resolved: Any) -> str:
    """A file of the options of the command that runs, which makes the same results again.

    Args:
        resolved: values, by the name of the parameter, that the command found in place of those
            given or by default; None leaves an option out.
    """
    ctx = click.get_current_context()
    settings = {**ctx.params, **resolved}
    for name, rivals in RIVALS.items():  # whose defaults would contradict what was given
        if was_given(ctx, name):
            settings |= {rival: None for rival in rivals if not was_given(ctx, rival)}
    kept = {
        key: list(value) if isinstance(value, tuple) else value
        for key, option in _named_options(ctx.command)
        if option.name not in _OF_THIS_CALL
        and (value := settings.get(str(option.name))) not in (None, ())
    }
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in kept.items()}
    program = ctx.find_root().info_name
    return (
        f"# What `{program} {ctx.info_name}` of patchindex {version('patchindex')} resolved; with\n"
        f"# `--config {CONFIG_FILE} --out OTHER` it makes the same again.\n"
        f"{yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)}"
    )

"""Commands that tell their options at once, and import what they do when it is done.

A command lists options in sections and examples; what it does is a function elsewhere, which gets
all their values and returns its result. With `--json` that result is all that stdout gets.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from cli.config_file import ON_THE_LINE
from cli.console import echo_json

HELP_NAMES = {"help_option_names": ["-h", "--help"]}
_JSON = "as_json"
# how other programs, and other commands of ours, call what ours have; the first that there is
OTHER_NAMES = {
    "--num-samples": ("--num",),
    "--num-images": ("--num", "--limit"),
    "--samples": ("--num",),
    "--n": ("--num",),
    "--output": ("--out",),
    "--output-dir": ("--out",),
    "--steps": ("--gradient-steps", "--network-steps"),
    "--network": ("--architecture",),
    "--model": ("--network", "--architecture"),
    "--data": ("--dataset",),
}


class Option(click.Option):
    """An option whose choices a shell completes.

    Args:
        choices: what may be given, which is the metavar, too; or a function that lists it.
        files: whether the path of a file may be given as well.

    Example:
        >>> Option("--machine", choices=("els", "ls", "is"), default="els", show_default=True)
    """

    def __init__(
        self,
        *names: str,
        choices: tuple[str, ...] | Callable[[], list[str]] = (),
        files: bool = False,
        **settings: Any,
    ) -> None:
        if isinstance(choices, tuple) and choices:
            settings.setdefault("metavar", "|".join(choices))
        super().__init__(names, **settings)
        self.choices, self.files = choices, files

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """See `click.Parameter`."""
        if not self.choices and not self.files:
            return super().shell_complete(ctx, incomplete)
        listed = self.choices if isinstance(self.choices, tuple) else self.choices()
        found = [CompletionItem(word) for word in listed if word.startswith(incomplete)]
        return [*found, CompletionItem(incomplete, type="file")] if self.files else found


JSON = Option(
    "--json", _JSON, is_flag=True,
    help="Print the results as one JSON document, and all else to stderr.",
)  # fmt: skip


class Command(click.Command):
    """A command whose work is imported when it runs.

    Args:
        work: module and function, as in "cli.sampler_run:run".
        short_help: its line in the list of commands.
        sections: options by title.
        arguments: what is given without an option.
        examples: what a line does, and the line.

    Example:
        >>> Command("plot", "cli.sampler_plot:plot", short_help="Draw again.", help="Draw what ...",
        ...         sections={"Output": [OUT]}, arguments=[click.Argument(["folder"])],
        ...         examples={"The steps of a run": "sampler plot runs/sample-els-0"})
    """

    def __init__(
        self,
        name: str,
        work: str,
        *,
        short_help: str,
        help: str,  # noqa: A002 - click's name
        sections: Mapping[str, Sequence[click.Option]],
        arguments: Sequence[click.Argument] = (),
        examples: Mapping[str, str] | None = None,
    ) -> None:
        params = [*arguments, *(option for listed in sections.values() for option in listed)]
        super().__init__(
            name, callback=self.carry_out, params=params, help=help, short_help=short_help,
            context_settings=HELP_NAMES,
        )  # fmt: skip
        self.work, self.sections, self.examples = work, sections, examples or {}

    def carry_out(self, **settings: Any) -> Any:
        """Do the work; print its result if JSON was asked for."""
        as_json = settings.pop(_JSON, False)
        work = self.load()
        if not as_json:
            return work(**settings)
        with redirect_stdout(sys.stderr):
            result = work(**settings)
        echo_json(result)
        return result

    def load(self) -> Callable[..., Any]:
        """The function that does the work."""
        module, _, function = self.work.partition(":")
        work: Callable[..., Any] = getattr(import_module(module), function)
        return work

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command`; a file of options is read meanwhile, and must know what wins."""
        try:
            given, _, _ = self.make_parser(ctx).parse_args(list(args))
        except click.NoSuchOption as error:
            raise self._meant(error) from None
        ctx.meta[ON_THE_LINE] = frozenset(given)
        return super().parse_args(ctx, args)

    def _meant(self, error: click.NoSuchOption) -> click.NoSuchOption:
        """The error with the option that is meant, where another name of it was given."""
        ours = {name for param in self.params for name in param.opts}
        names = OTHER_NAMES.get(error.option_name.replace("_", "-"), ())
        meant = next((name for name in names if name in ours), None)
        if meant is None:
            return error
        told = f"No such option {error.option_name!r}. Did you mean {meant!r}?"
        return click.NoSuchOption(error.option_name, told, ctx=error.ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options by section."""
        for title, listed in self._sections(ctx):
            records = [record for option in listed if (record := option.get_help_record(ctx))]
            with formatter.section(title):
                formatter.write_dl(records)

    def _sections(self, ctx: click.Context) -> Iterator[tuple[str, Sequence[click.Parameter]]]:
        """Titles and options, --help among the last."""
        *others, last = self.sections.items() or [("Options", [])]
        yield from others
        title, options = last
        asked = self.get_help_option(ctx)
        yield title, [*options, *([asked] if asked else [])]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples, each line whole, to be copied."""
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for words, line in self.examples.items():
                    indent = " " * formatter.current_indent
                    formatter.write(f"{indent}# {words}\n{indent}{line}\n")

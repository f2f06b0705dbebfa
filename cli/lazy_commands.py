"""Command groups that import a command when it is asked for: torch takes seconds to import."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from cli.console import Commands


class LazyCommands(Commands):
    """A group that lists its commands, and refuses those that it lacks, without importing any.

    Args:
        homes: of each command its module, its name there, and its line in the list.

    Example:
        >>> @click.group(cls=LazyCommands, homes={"run": ("cli.sampler_run", "run", "Sample.")})
        ... def main() -> None: ...
    """

    def __init__(
        self, *args: Any, homes: Mapping[str, tuple[str, str, str]], **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        self._homes = homes

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names in the order of the alphabet."""
        return sorted(self._homes)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        """All that lists and completions need of a command."""
        if cmd_name not in self._homes:
            return None
        return click.Command(cmd_name, short_help=self._homes[cmd_name][2])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name, imported."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        return name, None if stand_in is None else self.load(str(name)), rest

    def load(self, name: str) -> click.Command:
        """The command itself."""
        module, attribute, _ = self._homes[name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

"""What MkDocs does beside rendering pages: both command lines, notebooks, formulas as MathML.

`<!-- commands of sampler -->` becomes the help of every command, in the words of the code: click
writes it, as for `--help`, but into Markdown. Formulas become MathML while the site is built, so
that no script and no font has to be loaded to read them. Each notebook becomes a page.
"""

import html
import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path

import click
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

PLACE = re.compile(r"<!-- commands of (patchindex|sampler) -->")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
FIGURE = re.compile(r'(<img [^>]*src="([^"]+\.(?:png|gif))"[^>]*>)')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files with a page for each notebook, and the pictures that it shows."""
    for path in sorted(Path(config.docs_dir, "notebooks").glob("*.ipynb")):
        resources = {"unique_key": path.stem, "output_files_dir": path.stem}
        page, made = MarkdownExporter().from_filename(str(path), resources)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page))
        for name, picture in made["outputs"].items():
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """The page with what is made from code in its places, and links to the pages of notebooks."""
    markdown = markdown.replace(".ipynb)", ".md)")
    return PLACE.sub(lambda found: "\n".join(command_pages(found[1])), markdown)


def on_page_content(html_text: str, **_: object) -> str:
    """The page with MathML in place of LaTeX, and figures that open in full size."""
    return FIGURE.sub(r'<a href="\2">\1</a>', FORMULA.sub(as_mathml, html_text))


def as_mathml(found: re.Match[str]) -> str:
    """A formula, in a box that scrolls where it is wider than a phone."""
    kind, latex = found[1], html.unescape(found[2])
    if kind == "span":
        return convert(latex)
    return f'<div class="formula">{convert(latex, display="block")}</div>'


def command_pages(program: str) -> Iterator[str]:
    """The help of each command of a program as Markdown, under a heading of its own."""
    group = import_module(f"cli.{program}").main
    top = click.Context(group, info_name=program)
    for name in group.list_commands(top):
        yield f"## {program} {name}"
        yield ""
        yield help_page(loaded(group, top, name), click.Context(group, info_name=program), name)


def loaded(group: click.Group, context: click.Context, name: str) -> click.Command:
    """The command itself, not the stand-in that lists are made of."""
    _, command, _ = group.resolve_command(context, [name])
    if command is None:
        raise LookupError(f"{context.info_name} has no command {name}")
    return command


def help_page(command: click.Command, parent: click.Context, name: str) -> str:
    """What `--help` says, as Markdown."""
    formatter = MarkdownHelp()
    command.format_help(click.Context(command, info_name=name, parent=parent), formatter)
    return formatter.getvalue()


class MarkdownHelp(click.HelpFormatter):
    """Takes what click writes for a terminal, and writes Markdown that fits a phone."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:  # noqa: ARG002
        """The usage as code."""
        self.write(f"```text\n{prog} {args}\n```\n\n")

    def write(self, string: str) -> None:
        """Markdown as it is; lines that are indented as whole ones, such as examples, as code."""
        lines = string.splitlines()
        if self.current_indent and lines and all(line.startswith("  ") for line in lines):
            body = "\n".join(line[self.current_indent :] for line in lines)
            string = f"```bash\n{body}\n```\n\n"
        super().write(string)

    def write_heading(self, heading: str) -> None:
        """A line in bold: the heading of a group of options."""
        self.write(f"**{heading}**\n\n")

    def write_paragraph(self) -> None:
        """An empty line."""
        self.write("\n")

    def write_text(self, text: str) -> None:
        """Paragraphs; those that keep their line breaks are examples, or lists of values."""
        for paragraph in re.split(r"\n\s*\n", text.strip()):
            lines = paragraph.strip("\n").splitlines()
            if lines and lines[0].strip() == "\b":
                body = "\n".join(line.strip() for line in lines[1:])
                self.write(f"```bash\n{body}\n```\n\n")
            else:
                self.write(f"{escaped(' '.join(line.strip() for line in lines))}\n\n")

    def write_dl(self, rows: Iterable[tuple[str, str]], *_: object, **__: object) -> None:
        """Each option over its meaning: a table would be wider than a phone."""
        for term, meaning in rows:
            self.write(f"`{term}`\n:   {escaped(meaning) or '&nbsp;'}\n\n")


def escaped(text: str) -> str:
    """Text in which Markdown finds nothing but code between backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else re.sub(r"([*_\[\]<|#$])", r"\\\1", part) for part in parts
    )

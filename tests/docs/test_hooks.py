"""The pages of both command lines, as MkDocs is given them."""

import re
from importlib import import_module, util

import click
import pytest
from docs_pages import ROOT

pytest.importorskip("latex2mathml")
SPEC = util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
assert SPEC is not None
assert SPEC.loader is not None
hooks = util.module_from_spec(SPEC)
SPEC.loader.exec_module(hooks)


@pytest.mark.parametrize("program", ["sampler", "patchindex"])
def test_every_command_and_option_is_on_the_page(program: str) -> None:
    page = hooks.on_page_markdown(f"# Title\n\n<!-- commands of {program} -->\n")
    group = import_module(f"cli.{program}").main
    top = click.Context(group, info_name=program)
    for name in group.list_commands(top):
        _, _, after = page.partition(f"## {program} {name}\n")
        text = after.partition("\n## ")[0]
        assert f"{program} {name} [OPTIONS]" in text
        for param in hooks.loaded(group, top, name).params:
            if isinstance(param, click.Option) and not param.hidden:
                assert re.search(rf"^`(?:-\w, )?{param.opts[0]}\b", text, re.MULTILINE), param.opts


@pytest.mark.parametrize("program", ["sampler", "patchindex"])
def test_comments_of_examples_do_not_become_headings(program: str) -> None:
    page = "\n".join(hooks.command_pages(program))
    outside = re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^ {0,3}#+ .*", outside, re.MULTILINE)
    assert headings
    assert all(line.startswith(f"## {program} ") for line in headings)


def test_formulas_become_mathml_and_figures_links() -> None:
    html = '<span class="arithmatex">\\(x &lt; \\sqrt{2}\\)</span> <img alt="a" src="b.png">'
    shown = hooks.on_page_content(html)
    assert "<msqrt>" in shown
    assert "arithmatex" not in shown
    assert '<a href="b.png"><img alt="a" src="b.png"></a>' in shown

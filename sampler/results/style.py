"""How every plot looks: colors that all readers can tell apart, thin grids, equal files."""

import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axis import Tick
from matplotlib.figure import Figure
from matplotlib.text import Text

from patchindex.file_names import one_line

# hues of the Okabe-Ito palette, which colour-blind readers can tell apart
BLUE, ORANGE, GREEN, PINK, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"
GREY, LIGHT_GREY = "#666666", "#999999"
STYLE: dict[Any, Any] = dict(  # Any: matplotlib's stubs want literal names
    mpl.rc_params_from_file(
        Path(__file__).with_name("figures.mplstyle"), use_default_template=False
    )
)


def save_figure(figure: Figure, path: Path) -> None:
    """Write as the name's ending says; equal figures give equal files."""
    date = {"Date": None} if path.suffix == ".svg" else None
    take_literally(figure)
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # a name may be in any script: boxes stand for what the font lacks, its number is beside it
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        # of numbers so wild that their labels leave no room: what there is is drawn all the same
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        figure.savefig(path, dpi=160, metadata=date)


def take_literally(figure: Figure) -> None:
    """Show every text as it is written: a name with dollars is no formula, and in lines of its own.

    Characters that cannot be shown are escaped, of which FreeType would refuse some. Labels of
    ticks stay, which matplotlib makes as formulas.
    """
    of_ticks = {label for tick in figure.findobj(Tick) for label in tick.findobj(Text)}
    for text in figure.findobj(Text):
        if text in of_ticks:
            continue
        assert isinstance(text, Text)  # noqa: S101 - for the types alone
        text.set_parse_math(False)
        lines = text.get_text().split("\n")
        if (shown := "\n".join(map(one_line, lines))) != text.get_text():
            text.set_text(shown)

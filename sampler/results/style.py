"""How every plot looks: colors that all readers can tell apart, thin grids, equal files."""

import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.text import Text

from patchindex.images import printable

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
    for text in figure.findobj(Text):  # FreeType takes no names that are not UTF-8
        if (name := printable(text.get_text())) != text.get_text():
            text.set_text(name)
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # of numbers so wild that their labels leave no room: what there is is drawn all the same
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        figure.savefig(path, dpi=160, metadata=date)

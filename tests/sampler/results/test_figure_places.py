"""Where things lie on figures: names of targets beside panels, each map once and with its scale."""

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sampler.results.step_figures import draw_target
from sampler.results.study_figures import maps_figure


def test_the_name_of_a_target_lies_on_no_point_of_the_panel() -> None:
    figure = Figure(figsize=(4, 3), layout="constrained")
    panel = figure.subplots()
    panel.plot([0, 1], [0.95, 0.95])
    draw_target(panel, 0.95, "95 %")
    FigureCanvasAgg(figure).draw()
    [name] = panel.texts
    box, inside = name.get_window_extent(), panel.get_window_extent()
    assert box.x0 >= inside.x1
    assert box.x1 <= figure.bbox.x1


def test_each_map_is_drawn_once_with_a_scale() -> None:
    for times, shown in ([1.0, 0.5], 2), ([t / 20 for t in range(20, 0, -1)], 6):
        figure = maps_figure(torch.rand(len(times), 8, 8), times, [3] * len(times))
        maps = [panel for panel in figure.axes if panel.images]
        assert len(maps) == shown
        assert len(figure.axes) == 2 * shown
        titles = [panel.get_title(loc="left") for panel in maps]
        assert len(set(titles)) == shown
        assert titles[0] == "t = 1.00, 90 % in 3"

"""What a command leaves in its folder: typed results, the trace, tables and figures.

Public modules: `run_result`, `study_results`, `audit_result`, `denoise_result` and
`picture_result` say what each JSON file holds, with `source_result`, which they share, and
`rest_result`, what is known of images that are not listed; `json_files` reads, checks and writes
any of them, `trace` is the store of traced runs and pictures, `write` knows the files that each
command leaves, `output` replaces those of a folder in one stroke, `checkpoint` keeps what a run
has done so far. `tables`, `step_figures`, `study_figures`, `denoise_figure`,
`attribution_figures`, `style` and `plot_folder` show results.
Figures are imported where they are drawn, as matplotlib takes long to load.
"""

__all__ = [
    "attribution_figures",
    "audit_result",
    "checkpoint",
    "denoise_figure",
    "denoise_result",
    "json_files",
    "output",
    "picture_result",
    "plot_folder",
    "rest_result",
    "run_result",
    "source_result",
    "step_figures",
    "study_figures",
    "study_results",
    "style",
    "tables",
    "trace",
    "write",
]

"""Which files each command leaves in its output folder, and how each is drawn or written."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from patchindex import ImageSet
from patchindex.images import to_uint8
from patchindex.png import captioned, image_grid, save_png
from sampler.choices import CONFIG_FILE
from sampler.results.audit_result import AUDIT_FILE, AuditResult
from sampler.results.checkpoint import RUNNING
from sampler.results.json_files import write_json
from sampler.results.output import write_whole
from sampler.results.run_result import RUN_FILE, RunResult
from sampler.results.study_results import (
    CALIBRATE_FILE,
    COMPARE_FILE,
    VERIFY_FILE,
    CalibrateResult,
    CompareResult,
    VerifyResult,
)
from sampler.results.trace import TRACE
from sampler.scales import SCALES_FILE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SINGLE = "samples"  # the folder of single pictures
# what other commands make of a run, and what would be wrong beside the next one
_OF_ANOTHER_RUN = (
    "explain.html", "leave_out*", "steps.png", "steps.svg", "attribution.*", "pictures.npy", SINGLE
)  # fmt: skip


def write_run(
    result: RunResult,
    samples: Float[Tensor, "b c h w"],
    folder: Path,
    trace: Path | None = None,
    images: ImageSet | None = None,
    *,
    options: str | None = None,
    singly: bool = False,
) -> None:
    """Write samples.npy, samples.png, the trace if there is one and, last, run.json.

    With a trace and the images also attribution.png, which shows the images of each sample.

    Args:
        samples: in [-1, 1].
        trace: moves into the folder from here.
        images: that the run was made from.
        options: config.yaml, the options of the command that made it.
        singly: also write each sample as it is: samples/000.png and so on.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    pictures = to_uint8(samples)
    files: dict[str, Callable[[Path], object]] = {
        "samples.npy": lambda path: np.save(path, samples.cpu().numpy()),
        "samples.png": lambda path: save_png(captioned(image_grid(pictures), result.caption), path),
        **_config_file(options),
    }
    if singly:
        files[SINGLE] = partial(_write_singly, pictures)
    if trace is not None and images is not None:
        # matplotlib takes most of a second to import, which no other run should wait for
        from sampler.results.attribution_figures import attribution_figure  # noqa: PLC0415
        from sampler.results.style import save_figure  # noqa: PLC0415

        figure = attribution_figure(result, samples.float().cpu().numpy(), images)
        files["attribution.png"] = lambda path: save_figure(figure, path)
    files[RUN_FILE] = lambda path: write_json(result, path)
    if trace is not None:  # after all that a full disk may refuse: it is there only once
        files[TRACE] = trace.rename
    write_whole(files, folder, last=RUN_FILE, gone=(*_OF_ANOTHER_RUN, CONFIG_FILE, TRACE, RUNNING))


def _write_singly(pictures: UInt8[ndarray, "b c h w"], folder: Path) -> None:
    """A folder with each picture in a file of its own, pixel by pixel, named by its number."""
    folder.mkdir()
    digits = max(3, len(str(len(pictures) - 1)))
    for number, picture in enumerate(pictures):
        save_png(picture.transpose(1, 2, 0), folder / f"{number:0{digits}}.png")


def write_verification(result: VerifyResult, folder: Path) -> None:
    """Write verify.png, verify.svg and, last, verify.json.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    # matplotlib takes most of a second to import, which no other command should wait for
    from sampler.results.study_figures import verification_figure  # noqa: PLC0415

    _write_drawn(result, verification_figure(result), folder, VERIFY_FILE)


def write_audit(result: AuditResult, folder: Path) -> None:
    """Write audit.png, audit.svg and, last, audit.json.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    from sampler.results.study_figures import audit_figure  # noqa: PLC0415 - as above

    _write_drawn(result, audit_figure(result), folder, AUDIT_FILE)


def _write_drawn(
    result: VerifyResult | AuditResult, figure: "Figure", folder: Path, file: str
) -> None:
    """A result and its figure, under one name."""
    from sampler.results.style import save_figure  # noqa: PLC0415 - as above

    files: dict[str, Callable[[Path], None]] = {
        f"{Path(file).stem}{suffix}": lambda path: save_figure(figure, path)
        for suffix in (".png", ".svg")
    }
    files[file] = lambda path: write_json(result, path)
    write_whole(files, folder, last=file)


def write_calibration(
    result: CalibrateResult,
    maps: Float[Tensor, "t h w"] | None,
    folder: Path,
    *,
    options: str | None = None,
) -> None:
    """Write scales.yaml, scales.png, receptive_field.png and, last, calibrate.json.

    Args:
        maps: gradients of the network's center pixel at each time, if there is a network.
        options: config.yaml, the options of the command that made it.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    from sampler.results.study_figures import maps_figure, scales_figure  # noqa: PLC0415 - as above
    from sampler.results.style import save_figure  # noqa: PLC0415

    curve = scales_figure(result)
    files: dict[str, Callable[[Path], object]] = {
        SCALES_FILE: lambda path: path.write_text(result.scales_yaml),
        "scales.png": lambda path: save_figure(curve, path),
        **_config_file(options),
    }
    if maps is not None and result.effective_width is not None:
        heat = maps_figure(maps, result.times, result.effective_width)
        files["receptive_field.png"] = lambda path: save_figure(heat, path)
    files[CALIBRATE_FILE] = lambda path: write_json(result, path)
    write_whole(files, folder, last=CALIBRATE_FILE, gone=("receptive_field.png", CONFIG_FILE))


def write_comparison(
    result: CompareResult,
    outputs: Mapping[int, Float[Tensor, "b c h w"]],
    predicted: Mapping[str, Float[Tensor, "b c h w"]],
    nearest: Mapping[int, Float[Tensor, "b c h w"]],
    folder: Path,
    *,
    options: str | None = None,
) -> None:
    """Write samples.png, scatter.png, images.npz and, last, compare.json.

    Args:
        outputs: the network's images by its number of steps.
        predicted: each predictor's images.
        nearest: the training images nearest to those of the network.
        options: config.yaml, the options of the command that made it.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    from sampler.results.study_figures import grid_figure, scatter_figure  # noqa: PLC0415 - as above
    from sampler.results.style import save_figure  # noqa: PLC0415

    images = {**predicted, **{f"network_{steps}": found for steps, found in outputs.items()}}
    arrays = {name: found.numpy() for name, found in images.items()}
    grid = grid_figure(result, outputs, {**predicted, "nearest": next(iter(nearest.values()))})
    scatter = scatter_figure(result)
    files: dict[str, Callable[[Path], object]] = {
        "images.npz": lambda path: np.savez(path, **arrays),  # type: ignore[arg-type]
        "samples.png": lambda path: save_figure(grid, path),
        "scatter.png": lambda path: save_figure(scatter, path),
        **_config_file(options),
        COMPARE_FILE: lambda path: write_json(result, path),
    }
    write_whole(files, folder, last=COMPARE_FILE, gone=(CONFIG_FILE,))


def _config_file(options: str | None) -> dict[str, Callable[[Path], object]]:
    """How the options are written, if there are any."""
    if options is None:
        return {}
    return {CONFIG_FILE: lambda path: path.write_text(options, encoding="utf-8")}

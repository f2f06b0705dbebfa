"""The training loop, and the metrics that it writes every 50 steps."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from patchindex import ImageSet
from patchindex.paths import whole_file
from sampler.errors import OutputError
from sampler.networks import NetworkConfig, make_network
from sampler.training.recipe import Batch, TrainConfig, training_batch

METRICS, METRIC_STEPS = "metrics.jsonl", 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """How training stands after a step.

    Attributes:
        step: steps done.
        loss: mean over the steps since the last line, of which there are up to 50.
        learning_rate: of this step.
        seconds: spent on training until then, interruptions left out.
    """

    step: int
    loss: float
    learning_rate: float
    seconds: float

    def line(self) -> str:
        """The metric as a line of JSON."""
        return f"{json.dumps(asdict(self))}\n"


# Called with each metric once its line is in the file.
MetricCallback = Callable[[Metric], None]


def no_report(metric: Metric) -> None:
    """Tell nobody."""


def write_metrics(metrics: Iterable[Metric], folder: Path) -> None:
    """Make the file hold just these: what was written after the last checkpoint is done again.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    try:
        with whole_file(folder / METRICS) as path:
            path.write_text("".join(metric.line() for metric in metrics), encoding="utf-8")
    except OSError as error:
        raise unwritable(folder, error) from error


def append_metric(metric: Metric, folder: Path) -> None:
    """Add a line to the file.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    try:
        with (folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(metric.line())
    except OSError as error:
        raise unwritable(folder, error) from error


def unwritable(folder: Path, error: OSError) -> OutputError:
    """The error to raise where the file cannot be written."""
    return OutputError(
        f"{METRICS} cannot be written to {folder} ({error.strerror}). Free some space; the same "
        "command goes on from the last checkpoint, if there is one."
    )


BLOCK_STEPS = METRIC_STEPS  # on a GPU
# a moving average that began with the first weights would never quite forget them
AVERAGED_SHARE = 0.75


@dataclass(slots=True)
class TrainingState:
    """All that a resumed run needs; changed in place by every step.

    Attributes:
        average: moving average of the weights; None if the recipe keeps none.
        losses: of every step done.
        metrics: the lines that were told of them.
        seconds: that the steps have taken.
    """

    module: nn.Module
    average: AveragedModel | None
    optimizer: torch.optim.Optimizer
    losses: list[float] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.losses)

    def result(self) -> nn.Module:
        """The weights to keep: the average once there is one."""
        if self.average is not None and int(self.average.n_averaged) > 0:
            averaged: nn.Module = self.average.module
            return averaged
        return self.module

    def values(self) -> dict[str, Any]:
        """Tensors and numbers, for `torch.save`."""
        return {
            "module": self.module.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "losses": self.losses,
            "metrics": [asdict(metric) for metric in self.metrics],
            "seconds": self.seconds,
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Become the state that `values` came from.

        Raises:
            ValueError: the optimizer's moments are not those of the weights. What torch raises over
                values that no such state gave is raised as well.
        """
        self.module.load_state_dict(values["module"])
        if self.average is not None:
            self.average.load_state_dict(values["average"])
        moments = values["optimizer"]["state"]
        check_moments(moments, list(self.module.parameters()))
        # the recipe says the settings; those of a file could be anything
        settings = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": settings})
        self.losses = list(values["losses"])
        # checkpoints of version 0.1 have none
        self.metrics = [Metric(**metric) for metric in values.get("metrics", [])]
        self.seconds = float(values["seconds"])


def check_moments(moments: Mapping[int, Mapping[str, Tensor]], weights: Sequence[Tensor]) -> None:
    """Raise ValueError unless these are Adam's moments of these weights, which torch never asks."""
    if list(moments) not in ([], list(range(len(weights)))):
        raise ValueError("its optimizer knows other weights")
    for number, weight in enumerate(weights if moments else ()):
        steps, mean, square = (moments[number][key] for key in ("step", "exp_avg", "exp_avg_sq"))
        shapes = (steps.shape, mean.shape, square.shape)
        if shapes != (torch.Size(), weight.shape, weight.shape):
            raise ValueError("its optimizer knows weights of other shapes")
        finite = all(bool(value.isfinite().all()) for value in (steps, mean, square))
        if not finite or steps < 0 or square.min() < 0:
            raise ValueError("its optimizer's moments are no moments")


def fresh_state(network: NetworkConfig, config: TrainConfig, device: torch.device) -> TrainingState:
    """A network before its first step."""
    module = make_network(network, config.seed).to(device)
    module = module.to(memory_format=torch.channels_last)
    average = None
    if config.averaging:
        average = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(config.averaging))
    optimizer = torch.optim.AdamW(module.parameters(), lr=config.learning_rate, weight_decay=0.0)
    return TrainingState(module, average, optimizer)


def train(
    state: TrainingState,
    images: ImageSet,
    network: NetworkConfig,
    config: TrainConfig,
    stopping: Callable[[], bool],
) -> Iterator[list[float]]:
    """Do all steps that are left; yields the losses of each block, finite or not.

    A block is one step on a CPU, and up to 50 on a GPU, which is waited for once a block.

    Args:
        stopping: asked after every step; once it says True, that step was the last.
    """
    device = next(state.module.parameters()).device
    precision = chosen_precision(config.precision, device)
    size = BLOCK_STEPS if device.type == "cuda" else 1
    losses = []
    for step in range(state.step, config.steps):
        batch = training_batch(images, network, config, step)
        for group in state.optimizer.param_groups:
            group["lr"] = config.rate_at(step)
        losses.append(descend(state, batch.to(device), precision))
        if state.average is not None and step >= (1 - AVERAGED_SHARE) * config.steps:
            state.average.update_parameters(state.module)
        done, stopped = step + 1, stopping()
        # ends where a checkpoint is due, or an interruption could lose more than an interval
        if stopped or 0 in (done % size, done % config.save_every) or done == config.steps:
            found = torch.stack(losses).tolist()
            losses = []
            state.losses.extend(found)
            yield found
        if stopped:
            return


def descend(state: TrainingState, batch: Batch, precision: torch.dtype) -> Float[Tensor, ""]:
    """One gradient step; its loss, the mean squared error of the network's output."""
    xt = batch.xt.contiguous(memory_format=torch.channels_last)
    mixed = precision is not torch.float32
    with torch.autocast(xt.device.type, precision, enabled=mixed):
        predicted = state.module(xt, batch.t, batch.label)
    loss: Tensor = (predicted.float() - batch.target).square().mean()
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    state.optimizer.step()
    return loss.detach()


def chosen_precision(asked: str, device: torch.device) -> torch.dtype:
    """The type of products; `auto` is bfloat16 on a GPU and on a CPU with matrix units for it."""
    if asked == "auto":
        return torch.bfloat16 if device.type == "cuda" or has_matrix_units() else torch.float32
    return torch.bfloat16 if asked == "bfloat16" else torch.float32


def has_matrix_units() -> bool:
    """Whether this CPU multiplies bfloat16 matrices, which halves training time or better."""
    # older versions of torch cannot tell
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16", False))

"""How modules of the user's own are called, and what is told of those that fail."""

import pytest
import torch
from torch import nn

from cli.console import format_shortage
from sampler import sample
from sampler.errors import NetworkError, SamplerConfigError
from sampler.networks import (
    DataPredictor,
    EDMDenoiser,
    NetworkCallError,
    NoisePredictor,
    Predictor,
    VelocityPredictor,
    as_network,
    gradient_map,
)

DDPM = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0).tolist()
Y = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Embedding(nn.Module):
    """Looks its steps up, as DDPM's do that know a thousand of them."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(1000, 1)

    def forward(self, xt: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return xt * self.table(t)[:, :, None, None]


def test_whole_steps_can_be_looked_up_in_an_embedding() -> None:
    torch.manual_seed(0)
    module = Embedding()
    network = NoisePredictor(module, schedule=DDPM, time="step", whole_steps=True)
    step = 700
    sigma = ((1 - DDPM[step]) / DDPM[step]) ** 0.5
    xt = DDPM[step] ** 0.5 * Y
    with torch.no_grad():
        eps = module(xt, torch.full((4,), step))
    expected = (xt - (1 - DDPM[step]) ** 0.5 * eps) / DDPM[step] ** 0.5
    torch.testing.assert_close(network(Y, sigma), expected, rtol=1e-5, atol=1e-5)
    assert sample(network, Y, schedule=DDPM_SIGMAS).images.isfinite().all()


DDPM_SIGMAS = [((1 - share) / share) ** 0.5 for share in DDPM[::-250]]


def test_whole_steps_of_a_time_without_steps_are_refused() -> None:
    with pytest.raises(NetworkError, match=r"whole_steps was given with time='unit', which counts"):
        NoisePredictor(nn.Identity(), whole_steps=True)


def test_what_a_module_raises_is_told_with_what_it_was_asked() -> None:
    network = NoisePredictor(Embedding(), schedule=DDPM, time="step", name="hers")
    with pytest.raises(NetworkCallError) as told:
        network(Y, torch.tensor([157.4, 10.0, 1.0, 0.1]))
    message = str(told.value)
    assert message.startswith(
        "hers (NoisePredictor) was called with x float32 [4, 1, 8, 8], t float32 [4] (998.995, "
    )
    assert ", ...), no label, and raised RuntimeError: Expected tensor for argument" in message
    assert message.endswith("or name others: time, whole_steps, num_classes.")
    assert isinstance(told.value.__cause__, RuntimeError)


def test_a_module_that_takes_other_arguments_is_told() -> None:
    network = DataPredictor(lambda x: x, num_classes=3, name="hers")
    with pytest.raises(
        NetworkCallError, match=r"label int64 \[4\] \(1, 1, 1, \.\.\.\), and raised"
    ):
        network(Y, 0.5, label=1)
    with pytest.raises(
        NetworkCallError, match=r"EDMDenoiser\) was called with x .*, c_noise float"
    ):
        EDMDenoiser(lambda x: x)(Y, 0.5)
    with pytest.raises(NetworkCallError, match=r"<lambda> was called with y float32 .*, sigma 0.5"):
        as_network(lambda y: y)(Y, 0.5)
    with pytest.raises(NetworkCallError, match=r"time= of <lambda> was called with sigma 0\.5"):
        DataPredictor(lambda x, _: x, time=lambda: 1.0)(Y, 0.5)


def test_what_is_no_prediction_is_told() -> None:
    class Output:
        sample = Y

    with pytest.raises(NetworkError, match=r"returns a Output. Return a tensor as large as the"):
        VelocityPredictor(lambda *_: Output())(Y, 0.5)
    with pytest.raises(NetworkError, match=r"returns shape \(4, 1, 1, 1\) for states of \(4, 1, 8"):
        VelocityPredictor(lambda x, _: x.mean((2, 3), keepdim=True))(Y, 0.5)


@pytest.mark.parametrize(
    "raised",
    [
        SamplerConfigError("sigma is wrong."),
        KeyboardInterrupt(),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("made", [DataPredictor, EDMDenoiser, as_network])
def test_errors_that_are_not_the_modules_pass_untouched(raised, made) -> None:
    def fail(*_: object) -> torch.Tensor:
        raise raised

    with pytest.raises(type(raised)) as told:
        made(fail)(Y, 0.5)
    assert told.value is raised
    if isinstance(raised, MemoryError | RuntimeError):
        assert format_shortage(raised) is not None


def test_gradients_are_missed_only_where_torch_misses_them() -> None:
    with pytest.raises(NetworkError, match=r"gives torch no gradient .* \(Can't call numpy\(\) on"):
        gradient_map(as_network(lambda y, _: torch.from_numpy(y.numpy())), Y, 0.5)
    with pytest.raises(NetworkCallError, match="raised TypeError"):
        gradient_map(as_network(lambda y: y), Y, 0.5)


@pytest.mark.parametrize("kind", [Predictor, NoisePredictor, VelocityPredictor, DataPredictor])
def test_help_of_an_adapter_names_its_arguments(kind) -> None:
    for name in ("module", "schedule", "time", "whole_steps", "value_range", "about"):
        assert f"\n        {name}: " in kind.__doc__ or f"\n    {name}: " in kind.__doc__

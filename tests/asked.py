"""A denoiser asked at a step of the reverse process, of states xt."""

from torch import Tensor

from sampler.denoiser import Denoiser
from sampler.schedule import Step
from sampler.trajectory import in_data_units


def at(denoiser: Denoiser, xt: Tensor, step: Step) -> Tensor:
    return denoiser(in_data_units(xt, step.alpha_bar), step.sigma)

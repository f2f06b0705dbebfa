"""Score machines, sampling with them, and studies of them beside trained networks."""

from sampler.machines import ELSMachine, ISMachine, LSMachine, ScoreMachine
from sampler.posterior import Posterior
from sampler.trajectory import SampleResult, Transition, sample, sample_steps, trajectory

__all__ = [
    "ELSMachine",
    "ISMachine",
    "LSMachine",
    "Posterior",
    "SampleResult",
    "ScoreMachine",
    "Transition",
    "denoiser",
    "errors",
    "machines",
    "noise",
    "posterior",
    "run",
    "sample",
    "sample_steps",
    "scales",
    "schedule",
    "trajectory",
]

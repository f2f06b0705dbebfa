"""Score machines, sampling with them, and studies of them beside trained networks."""

from sampler.machines import ELSMachine, ISMachine, LSMachine
from sampler.posterior import Posterior
from sampler.score_machine import ScoreMachine
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
    "score_machine",
    "trajectory",
]

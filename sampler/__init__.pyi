from . import (
    choices,
    denoiser,
    errors,
    follower,
    machines,
    noise,
    posterior,
    run,
    scales,
    schedule,
    score_machine,
)
from .machines import ELSMachine, ISMachine, LSMachine
from .posterior import Posterior
from .score_machine import ScoreMachine
from .trajectory import SampleResult, Transition, sample, sample_steps, trajectory

__all__ = [
    "ELSMachine",
    "ISMachine",
    "LSMachine",
    "Posterior",
    "SampleResult",
    "ScoreMachine",
    "Transition",
    "choices",
    "denoiser",
    "errors",
    "follower",
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

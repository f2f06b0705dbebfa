"""`sampler verify`: retrieval beside exact sums, at every step and over whole states or pixels."""

from pathlib import Path
from typing import Any

import click

from cli.cluster import with_crew
from cli.console import echo_beside_bars, watched_bar
from cli.devices import with_device
from cli.given import sigmas_given
from cli.training_set import open_index
from patchindex import PatchIndex
from patchindex.crew import Crew
from patchindex.device import Device
from patchindex.loaded import set_threads
from sampler.errors import SamplerConfigError
from sampler.results.audit_result import AUDIT_FILE, AuditResult
from sampler.results.output import reserve_output
from sampler.results.run_result import SamplerConfig
from sampler.results.study_results import VERIFY_FILE, FinalComparison, VerifyResult
from sampler.results.tables import (
    AUDIT_HEADER,
    VERIFICATION_HEADER,
    audit_row,
    audit_summary_lines,
    verification_row,
)
from sampler.results.write import write_audit, write_verification
from sampler.studies.audit import AuditConfig, audit, plan_audit
from sampler.studies.verify import VerifyConfig, plan_verification
from sampler.studies.verify import verify as carry_out

DEFAULTS = VerifyConfig()


@with_crew
@with_device
def verify(
    *,
    index_path: Path | None,
    recall_pixels: int | None,
    finals: bool,
    pixels: int | None,
    device: Device,
    crew: Crew,
    threads: int | None,
    out: Path | None,
    overwrite: bool,
    **settings: Any,
) -> VerifyResult | AuditResult:
    """Say how far retrieval is from exact: a table, verify.png, verify.svg and verify.json."""
    sampling = SamplerConfig(**settings | {"sigmas": sigmas_given(settings["sigmas"])})
    if threads is not None:
        set_threads(threads)
    if pixels is not None:
        refuse_whole_states(recall_pixels, finals=finals)
        by_pixels = AuditConfig(sampling=sampling, pixels=pixels)
        index = open_index(index_path, device=device, crew=crew)
        return show_audit(index, by_pixels, device, out, overwrite=overwrite)
    if recall_pixels is None:
        recall_pixels = DEFAULTS.recall_pixels
    config = VerifyConfig(sampling=sampling, recall_pixels=recall_pixels, finals=finals)
    index = open_index(index_path, device=device, crew=crew)
    plan = plan_verification(index, config, device.place)
    folder = out or default_folder("verify", index, sampling)
    with reserve_output(folder, overwrite=overwrite, kind=VERIFY_FILE):
        click.echo(VERIFICATION_HEADER)
        with watched_bar("exact trajectory", sampling.steps, crew=crew):
            finished = carry_out(plan, on_row=lambda row: echo_beside_bars(verification_row(row)))
        write_verification(finished, folder)
    if finished.finals is not None:
        click.echo(finals_line(finished.finals))
    lowest = min(row.R2 for row in finished.steps)
    click.echo(f"lowest R2 {lowest:.6f} of {len(finished.steps)} steps: {folder / 'verify.png'}")
    return finished


def show_audit(
    index: PatchIndex, config: AuditConfig, device: Device, out: Path | None, *, overwrite: bool
) -> AuditResult:
    """Carry an audit out, step by step on the terminal, and write its folder."""
    plan = plan_audit(index, config, device.place)
    folder = out or default_folder("audit", index, config.sampling)
    with reserve_output(folder, overwrite=overwrite, kind=AUDIT_FILE):
        click.echo(AUDIT_HEADER)
        with watched_bar("audit", config.sampling.steps, crew=index.crew):
            finished = audit(plan, on_row=lambda row: echo_beside_bars(audit_row(row)))
        write_audit(finished, folder)
    for line in audit_summary_lines(finished):
        click.echo(line)
    count = finished.steps[0].num_pixels
    click.echo(f"{count:,} pixels of {plan.noise[:, 0].numel():,} a step: {folder / 'audit.png'}")
    return finished


def refuse_whole_states(recall_pixels: int | None, *, finals: bool) -> None:
    """Raise SamplerConfigError where an audit was asked for what only whole exact states tell."""
    asked = "--finals" if finals else "--recall-pixels"
    if finals or recall_pixels is not None:
        raise SamplerConfigError(
            f"{asked} was given with --pixels, which follows no exact trajectory. "
            f"Leave one of the two out."
        )


def default_folder(kind: str, index: PatchIndex, sampling: SamplerConfig) -> Path:
    """Where results lie if nothing else is said."""
    return Path("runs", f"{kind}-{Path(index.images.name).stem}-{sampling.seed}")


def finals_line(finals: FinalComparison) -> str:
    """How alike the final images are, by the three measures."""
    return (
        f"final images: Pearson r median {finals.r_median:.4f}, lowest {finals.r_lowest:.4f}; "
        f"median r2 {finals.r2_median:.4f}, median R2 {finals.R2_median:.4f}"
    )

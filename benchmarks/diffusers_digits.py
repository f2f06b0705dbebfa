r"""A small network of the diffusers library, trained for some minutes on real digits.

    python -m benchmarks.diffusers_digits --out runs/digits --minutes 8
    sampler calibrate --network diffusers:runs/digits --dataset mnist --limit 2500 --num 8
    sampler compare --network diffusers:runs/digits --dataset mnist \
        --scales runs/calibrate-mnist-0/scales.yaml

Trained as the library's own examples do: a UNet2DModel, DDPM's linear betas, eps, AdamW. The folder
is that of a DDPMPipeline, with what was done in training.json.
"""

import json
from pathlib import Path
from time import perf_counter

import click
import numpy as np
import torch
from torch.nn.functional import mse_loss

from benchmarks.record import time_and_commit
from patchindex import ImageSet
from patchindex.images import to_unit


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/digits"))
@click.option("--minutes", type=float, default=8.0, show_default=True)
@click.option("--dataset", default="mnist", show_default=True)
@click.option("--batch-size", type=int, default=64, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def main(*, out: Path, minutes: float, dataset: str, batch_size: int, seed: int) -> None:
    """Train until the time is over, and save the pipeline."""
    import diffusers  # noqa: PLC0415 - an extra

    images = ImageSet.load(dataset)
    torch.manual_seed(seed)
    # no attention: what the whole image says to a pixel is beyond any local theory
    unet = diffusers.UNet2DModel(
        sample_size=images.height,
        in_channels=images.channels,
        out_channels=images.channels,
        layers_per_block=1,
        block_out_channels=(32, 32, 64),
        norm_num_groups=8,
        down_block_types=("DownBlock2D",) * 3,
        up_block_types=("UpBlock2D",) * 3,
        attention_head_dim=None,
        add_attention=False,
    )
    scheduler = diffusers.DDPMScheduler(clip_sample=False)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-3)
    rng, losses, start = np.random.default_rng(seed), [], perf_counter()
    while (passed := perf_counter() - start) < 60 * minutes:
        for group in optimizer.param_groups:  # down to nothing at the end
            group["lr"] = 1e-3 * max(1 - passed / (60 * minutes), 0.01)
        chosen = np.sort(rng.integers(len(images), size=batch_size))
        clean = to_unit(np.asarray(images.pixels[chosen]))
        eps = torch.from_numpy(rng.standard_normal(clean.shape, np.float32))
        t = torch.from_numpy(rng.integers(0, scheduler.config.num_train_timesteps, batch_size))
        loss = mse_loss(unet(scheduler.add_noise(clean, eps, t), t).sample, eps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if len(losses) % 50 == 0:
            print(
                f"step {len(losses)}: loss {np.mean(losses[-50:]):.4f}, {passed:.0f} s", flush=True
            )
    diffusers.DDPMPipeline(unet, scheduler).save_pretrained(out)
    told = time_and_commit() | {
        "dataset": images.name, "num_images": len(images), "steps": len(losses),
        "batch_size": batch_size, "seconds": perf_counter() - start,
        "final_loss": float(np.mean(losses[-200:])),
        "parameters": sum(part.numel() for part in unet.parameters()),
    }  # fmt: skip
    (out / "training.json").write_text(json.dumps(told))
    print(f"{len(losses)} steps, loss {told['final_loss']:.4f}: {out}")


if __name__ == "__main__":
    main()

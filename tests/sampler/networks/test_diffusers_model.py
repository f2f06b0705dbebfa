"""Networks of the diffusers library, held against the library's own sampling."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_index import small_images

from sampler import sample
from sampler.errors import NetworkError
from sampler.networks import DiffusersDenoiser, open_network
from sampler.schedule import plan_steps
from sampler.studies.compare import CompareConfig, compare

pytestmark = pytest.mark.filterwarnings("ignore")  # the library's own
diffusers = pytest.importorskip("diffusers")


def small_unet(seed: int = 0, **settings):
    torch.manual_seed(seed)
    return diffusers.UNet2DModel(
        **{
            "sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1,
            "block_out_channels": (8, 16), "norm_num_groups": 4,
            "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
            "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        } | settings
    ).eval()  # fmt: skip


@pytest.fixture
def noise() -> torch.Tensor:
    return torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(5))


def pipelines_images(unet, scheduler, noise, steps: int, **options) -> torch.Tensor:
    """What diffusers makes of the noise, in [-1, 1]."""
    pipeline = diffusers.DDIMPipeline(unet, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(steps)
    images = noise
    with torch.no_grad():
        for t in scheduler.timesteps:
            images = scheduler.step(unet(images, t).sample, t, images, **options).prev_sample
    return images


# linspace is left out: there diffusers steps to other times than those that it asks at next
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_our_ddim_makes_the_images_that_diffusers_makes(noise, prediction, spacing) -> None:
    unet = small_unet()
    scheduler = diffusers.DDIMScheduler(
        clip_sample=False, prediction_type=prediction, timestep_spacing=spacing
    )
    network = DiffusersDenoiser(unet, dict(scheduler.config))
    found = sample(network, noise, schedule=network.levels(10)).images
    expected = pipelines_images(unet, scheduler, noise, 10)
    scale = max(1.0, float(expected.abs().max()))  # random weights lead anywhere
    torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=1e-4)


def test_the_librarys_own_pipeline_makes_the_same_picture(noise) -> None:
    unet = small_unet(1)
    scheduler = diffusers.DDIMScheduler(beta_schedule="scaled_linear")  # which clips
    network = DiffusersDenoiser(unet, dict(scheduler.config))
    found = sample(network, noise, schedule=network.levels(5)).images
    pipeline = diffusers.DDIMPipeline(unet, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    torch.manual_seed(11)
    start = torch.randn(noise.shape)
    torch.manual_seed(11)
    pictures = pipeline(
        batch_size=3, num_inference_steps=5, use_clipped_model_output=True, output_type="np"
    ).images
    found = sample(network, start, schedule=network.levels(5)).images
    ours = (found / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(ours, pictures, atol=1e-4)


def test_classes_are_told_to_the_network(noise) -> None:
    unet = small_unet(num_class_embeds=4)
    network = DiffusersDenoiser(unet, {"clip_sample": False})
    assert network.num_classes == 4
    label, step = torch.tensor([3, 0, 2]), 700
    share = float(diffusers.DDIMScheduler().alphas_cumprod[step])
    found = network(noise / share**0.5, ((1 - share) / share) ** 0.5, label=label)
    with torch.no_grad():
        eps = unet(noise, step, class_labels=label).sample
    expected = (noise - (1 - share) ** 0.5 * eps) / share**0.5
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_folder_of_a_pipeline_or_of_a_model_can_be_opened(noise, tmp_path: Path) -> None:
    unet = small_unet(2)
    scheduler = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", clip_sample=False)
    diffusers.DDPMPipeline(unet, scheduler).save_pretrained(tmp_path / "pipeline")
    unet.save_pretrained(tmp_path / "model")
    scheduler.save_pretrained(tmp_path / "model")
    expected = DiffusersDenoiser(unet, dict(scheduler.config))(noise, 0.8)
    for name in ("pipeline", "model", "pipeline/unet"):
        opened = open_network(f"diffusers:{tmp_path / name}")
        torch.testing.assert_close(opened(noise, 0.8), expected)
        assert opened.image_shape == (1, 8, 8)


def test_a_network_of_the_library_is_compared_with_its_theory(tmp_path: Path) -> None:
    network = DiffusersDenoiser(small_unet(), {"beta_schedule": "linear"}, name="hers")
    config = CompareConfig(network_steps=(4,))
    noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    found = compare(network, small_images(20, 8), noise, config)
    found.write(tmp_path)
    told = json.loads((tmp_path / "compare.json").read_text())
    assert told["network"] == {
        "name": "hers", "image_shape": [1, 8, 8], "num_classes": 0, "boundary": "zeros",
    }  # fmt: skip
    assert len(told["config"]["sigmas"]) == 20
    assert told["published"] == {}


@pytest.mark.parametrize(
    ("settings", "scheduler", "message"),
    [
        ({"out_channels": 3}, {}, "does not return as many channels as it is given. Give a UNet2D"),
        ({"class_embed_type": "timestep"}, {}, "embeds classes by 'timestep'. Give a network with"),
        ({}, {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "has a FlowMatchEulerDiscreteSch"),
        ({}, {"beta_schedule": "steep"}, "has a DDPMScheduler that diffusers cannot make"),
        ({}, {"rescale_betas_zero_snr": True}, "is not between 0 and 1 at every step"),
    ],
)
def test_other_networks_and_processes_are_refused(settings, scheduler, message) -> None:
    with pytest.raises(NetworkError, match=message):
        DiffusersDenoiser(small_unet(**settings), scheduler, name="hers")


def test_what_a_configuration_lacks_is_the_default_of_its_scheduler(noise) -> None:
    unet = small_unet()
    for config, clips in (
        ({}, True),
        ({"beta_schedule": "linear"}, True),
        ({"_class_name": "PNDMScheduler"}, False),
        ({"clip_sample": False}, False),
    ):
        mean = DiffusersDenoiser(unet, config)(100 * noise, 100.0)
        assert (float(mean.abs().max()) <= 1) == clips


def test_a_process_that_nearly_ends_without_signal_can_be_sampled() -> None:
    scheduler = {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing"}
    levels = DiffusersDenoiser(small_unet(), scheduler).levels(5)
    assert plan_steps((None,), 1, levels)[0].sigma == pytest.approx(1000, rel=1e-3)


def test_a_network_that_learned_variances_is_asked_for_its_mean(noise) -> None:
    unet = small_unet(out_channels=2)
    found = DiffusersDenoiser(unet, {"clip_sample": False})(noise, 1.0)
    assert found.shape == noise.shape


def test_what_is_no_folder_of_the_library_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"cannot be read \(.*Give a folder that") as told:
        open_network(f"diffusers:{tmp_path}")
    assert "\n" not in str(told.value)
    network = DiffusersDenoiser(small_unet())
    with pytest.raises(NetworkError, match="knows 1000 steps, but 1001 were asked for"):
        network.levels(1001)


@pytest.mark.parametrize("source", ["nodir", "./nodir/model", "a/b/c", "/nodir"])
def test_what_is_no_folder_and_no_id_is_refused_without_asking(monkeypatch, source) -> None:
    monkeypatch.setattr("sampler.networks.diffusers_model._library", lambda: pytest.fail("asked"))
    with pytest.raises(NetworkError, match=r"is no folder, and no id of the hub \(OWNER/NAME\)"):
        open_network(f"diffusers:{source}")


def test_a_schedule_that_is_assumed_is_told(tmp_path: Path, caplog) -> None:
    unet = small_unet()
    DiffusersDenoiser(unet, {"beta_schedule": "linear"})
    assert caplog.text == ""
    unet.save_pretrained(tmp_path / "model")
    open_network(f"diffusers:{tmp_path / 'model'}")
    (record,) = (record for record in caplog.records if record.name.startswith("sampler"))
    assert record.getMessage().endswith(
        "came without a scheduler, so DDPM's defaults are assumed: 1000 steps, linear betas from "
        "0.0001 to 0.02, a network that predicts epsilon, and means clipped to [-1, 1]"
    )

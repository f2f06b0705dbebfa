"""Names that users choose among, and what is taken where they say nothing.

Configurations take their defaults from here, and so do the command lines, whose `--help` must not
wait seconds for torch: this file imports nothing that is slow to load.
"""

from typing import Literal, get_args

from patchindex.choices import DEFAULT_NPROBE

MachineName = Literal["els", "ls", "is"]
Sampler = Literal["ddim", "heun"]
BaselineName = Literal["wiener", "lukoianov", "pspc"]
Architecture = Literal["resnet", "unet", "unet_attention"]
Padding = Literal["zeros", "circular"]
Preset = Literal["small", "paper"]
Precision = Literal["auto", "float32", "bfloat16"]
DENOISERS: tuple[str, ...] = ("is", "ls", "els", *get_args(BaselineName))
CONFIG_FILE = "config.yaml"  # beside results: the options that make them again
NETWORKS = "NAME|FILE|DIR|diffusers:FOLDER_OR_ID|paper:FILE|edm:FILE|python:MODULE:FUNCTION"

# of machines, and of the reverse process
DEFAULT_K, DEFAULT_TAIL = 256, 4096
DEFAULT_MACHINE: MachineName = "els"
DEFAULT_SCHEDULE, DEFAULT_STEPS = "cosine", 20
DEFAULT_SAMPLER: Sampler = "ddim"

# how many images each command makes, and what else it measures by
RUN_SAMPLES, VERIFY_SAMPLES, CALIBRATE_SAMPLES, COMPARE_SAMPLES, DENOISE_IMAGES = 16, 4, 10, 32, 64
RECALL_PIXELS = 32
NETWORK_STEPS = (150, 20)
BASELINES_SHOWN: tuple[BaselineName, ...] = ("wiener",)
DENOISE_SIGMAS = (10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05)
DEFAULT_NETWORK = "fashion_mnist_resnet_zeros_small"

# of attribution; pictures are asked at noise levels each twice the next, in data units: at the
# lowest a window is all but its nearest patch, at the highest thousands share every pixel
LOOKUP_K, LOOKUP_NPROBE = 8, 16 * DEFAULT_NPROBE  # for one pixel many are cheap
PICTURE_SIGMAS = (6.4, 3.2, 1.6, 0.8, 0.4, 0.2, 0.1, 0.05)
PICTURE_DRAWS = 4
THEORY: Literal["theory"] = "theory"  # the patch sizes at which a machine denoises
HELD_OUT_IMAGES = 200  # so that no p-value is below .005
IMAGES_LEFT_OUT = 5

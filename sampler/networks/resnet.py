"""The paper's minimal ResNet: 3x3 convolutions with residuals, nothing that sees further."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from sampler.networks.config import NetworkConfig
from sampler.networks.embedding import ChannelShift, TimeEmbedding


class ResNet(nn.Module):
    """Predicts what is in xt; a pixel sees 2 (depth + 2) + 1 pixels each way across.

    Into `width` channels, `depth` times state + ReLU(conv(state + shift)), and back
    (arXiv 2412.20292, appendix C.1); no normalization of the state.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        (width,), depth = config.sizes.widths, config.sizes.depth
        self.embedding = TimeEmbedding(config.sizes.embedding, config.num_classes)
        self.first = conv3x3(config.channels, width, config)
        self.middle = nn.ModuleList(conv3x3(width, width, config) for _ in range(depth))
        self.last = conv3x3(width, config.channels, config)
        self.shifts = nn.ModuleList(
            ChannelShift(config.sizes.embedding, width) for _ in range(depth + 1)
        )

    def forward(
        self,
        xt: Float[Tensor, "b c h w"],
        t: Float[Tensor, " b"],
        label: Int[Tensor, " b"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """The prediction: noise, or velocity if the configuration says so."""
        embedding = self.embedding(t, label)
        state = self.first(xt)
        for convolution, shift in zip(self.middle, self.shifts, strict=False):
            state = state + convolution(shift(state, embedding)).relu()
        noise: Tensor = self.last(self.shifts[-1](state, embedding))
        return noise


def conv3x3(channels: int, out: int, config: NetworkConfig) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size, with the network's padding."""
    return nn.Conv2d(channels, out, 3, padding=1, padding_mode=config.padding)

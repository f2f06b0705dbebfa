"""Self-attention over all pixels of a state: what no local theory can follow."""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

HEAD_CHANNELS = 32
GROUPS = 8


class SelfAttention(nn.Module):
    """state + projection of softmax(q k) v, with heads of 32 channels over normalized groups."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // HEAD_CHANNELS)
        self.normalize = nn.GroupNorm(GROUPS if width % GROUPS == 0 else 1, width)
        self.queries_keys_values = nn.Conv2d(width, 3 * width, 1)
        self.project = nn.Conv2d(width, width, 1)

    def forward(self, state: Float[Tensor, "b w h v"]) -> Float[Tensor, "b w h v"]:
        """The state that has looked around."""
        parts = self.queries_keys_values(self.normalize(state))
        query, key, value = rearrange(
            parts, "b (three heads c) h v -> three b heads (h v) c", three=3, heads=self.heads
        )
        seen = functional.scaled_dot_product_attention(query, key, value)
        together = rearrange(seen, "b heads (h v) c -> b (heads c) h v", h=state.shape[2])
        out: Tensor = state + self.project(together)
        return out

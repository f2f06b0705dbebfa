"""How well the theory predicts a network's images, image by image."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from sampler.metrics import coefficient_of_determination, pearson_r


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """One predictor's images beside the network's, from the same noise.

    Attributes:
        r, R2: of each image.
    """

    r: Float[Tensor, " b"]
    R2: Float[Tensor, " b"]

    @classmethod
    def of(
        cls, predicted: Float[Tensor, "b c h w"], network: Float[Tensor, "b c h w"]
    ) -> "Prediction":
        """The agreement of these images."""
        return cls(
            r=pearson_r(predicted, network),
            R2=coefficient_of_determination(predicted, network),
        )

    def medians(self) -> dict[str, float]:
        """Over images: Pearson r (the paper's "r^2"), its square, and R2 = 1 - SSE / SST."""
        return {
            "r": middle(self.r),
            "r2": middle(self.r.square()),
            "R2": middle(self.R2),
        }


def middle(values: Float[Tensor, " b"]) -> float:
    """The median, which of an even number is the mean of the two in the middle."""
    return float(values.double().quantile(0.5))


def share_better(one: Prediction, other: Prediction) -> float:
    """Share of images that the one predicts with the larger r."""
    return float((one.r > other.r).double().mean())


def compare(
    predicted: Mapping[str, Float[Tensor, "b c h w"]], network: Float[Tensor, "b c h w"]
) -> dict[str, Prediction]:
    """Each predictor's agreement with the network; all images are clipped to [-1, 1] first."""
    target = network.clamp(-1, 1)
    return {name: Prediction.of(images.clamp(-1, 1), target) for name, images in predicted.items()}


def summary(predictions: Mapping[str, Prediction]) -> dict[str, object]:
    """Medians of each predictor, and how often the local machines beat the ideal one."""
    medians = {name: prediction.medians() for name, prediction in predictions.items()}
    ideal = predictions["is"]
    better = {
        name: share_better(predictions[name], ideal)
        for name in ("els", "ls")
        if name in predictions
    }
    return {"medians": medians, "better_than_is": better}

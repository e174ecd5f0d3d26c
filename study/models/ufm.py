"""The unconstrained-features model: where collapse is proven."""

from __future__ import annotations

from torch import Tensor, nn

from study.models.config import ModelError
from study.models.heads import head_inputs
from study.models.native import NativeModel
from study.models.vision_config import UnconstrainedFeatures


class FreeFeatures(NativeModel):
    """Features are a table with one row for every training sample.

    The input of a sample is its number. Rows start normal(0, 1 / width), so of length about 1.
    """

    def __init__(
        self, settings: UnconstrainedFeatures, classes: int, input_shape: tuple[int, ...]
    ) -> None:
        super().__init__(settings, classes, input_shape)
        self.table = nn.Embedding(input_shape[0], settings.width)
        nn.init.normal_(self.table.weight, std=settings.width**-0.5)
        self.head = self.make_head(settings.width, bias=settings.bias)

    @property
    def layers(self) -> dict[str, nn.Module]:
        return {}

    def features(self, x: Tensor) -> Tensor:
        """(B, d) of the numbers (B,) of samples."""
        if x.is_floating_point() or x.ndim != 1:
            raise ModelError(
                f"free features are asked for by sample number (B,) int64, not {x.dtype} "
                f"{tuple(x.shape)}"
            )
        return head_inputs(self.head, self.table(x))

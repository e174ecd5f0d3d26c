"""The page docs/precision.md, written from the code.

`python -m study.precision > docs/precision.md` writes it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from study.precision.formats import stored_bits
from study.precision.names import GRAMMAR, TRAINED, Precision, known_precisions

_SHAPE = (768, 768)
_WITH_INPUTS = ("int8-dynamic", "int8-static", "int4-g32-dynamic", "int4-a4-dynamic")

_PAGE = """\
# Precision

A precision is the arithmetic at which a finished checkpoint is measured, whatever it was trained
in. All precisions of a point of the grid share one training. (This page is written by `python -m
study.precision > docs/precision.md`.)

## Names

```ebnf
{grammar}```

An unknown name is an error that names the nearest known one.

## What each one is

Bits per weight include scales and zero points, here for a layer of {shape[0]} x {shape[1]} weights.
Scales of integer formats have the checkpoint's dtype, that of `int8-dynamic` float32; `-asym` adds
a zero point of 8 bits to each, with `hqq-` one of the checkpoint's dtype, as it is a real number.

{table}

No layer is left out in silence: one that a format cannot take is an error with its name, its sizes
and the remedy. `nf4` quantizes its scales in groups of 256, or of the largest power of two that
divides their number in layers too small for that. A block of zeros stays zero in every format.

## What is rounded

* `fp32`, `bf16`, `fp16` convert every parameter, buffer and activation: features are computed in
  that dtype. Frequencies of rotary positions stay in float32. Linear layers and convolutions sum in
  float32 and round once; on the CPU by float32 kernels, as many processors lack fast 16-bit ones
  (attention products use those of PyTorch).
* Weight formats round the weights of linear, embedding and convolution layers (an output channel of
  a convolution is its flattened kernel) and keep the checkpoint's dtype for activations. Norms,
  biases, vectors and position embeddings stay. A layer is a position embedding if it has
  `positional = True` or a name such as `wpe`, `position` or `pos_embedding`. Any other matrix that
  belongs to no layer is an error that names it.
* `measure.compute: bf16` (by `torch.autocast`) or `tf32` (on GPUs that have it) sets what the model
  computes in where a precision rounds weights alone, `fp32` among them: products, not sums over
  samples, decisions, calibration or fine-tuning. Casts, caches, `-dynamic` and `-static` formats
  say it themselves. All precisions of a point are compared with `fp32` in the same arithmetic.
* The experts of a mixture that lie in one tensor are stacked linear layers: each is rounded alone.
  Every weight format leaves as they are, and the row names in `unrounded_layers`: routers and gates
  of shared experts, `A_log` of state-space models, the gates of an RG-LRU, and filters along the
  tokens (depthwise convolutions of one dimension). Their rounding would change which path a token
  takes, or how long a state lasts, rather than a product.
* A scale of the logits (`logit_scale`, `logits_scaling`) multiplies the rounded head, and a cap
  comes after it, both unrounded.
* `/body` leaves the head and all embeddings as they are, `/head` everything but the head. `/first`
  rounds the first weight of the model alone, `/block3` the third block (as rows name layers),
  `/attention` the attention of all blocks, `/mlp` the rest of them. A head
  that is tied to the embedding stays tied: quantizing it changes the embedding, and the row says so
  (`tied_embedding_changed`).
* `-dynamic` also rounds the inputs of linear layers with one scale a token, of convolutions with
  one a sample, chosen at run time: integers to 8 bits (`-a4`: to 4), floats to the format of the
  weights. `int8-dynamic` is torchao's Int8DynamicActivationInt8Weight (symmetric, integer product),
  other integers its Int8DynamicActivationIntxWeight (asymmetric; convolutions of `int8-dynamic`
  multiply the rounded values as floats). Blocks of `mx` and `nvfp4` lie along the features of a
  token and the channels of an image; the outer scale of `nvfp4` is that of the token or sample, so
  that a result does not depend on the batch. Embeddings have no inputs: their weights alone are
  rounded. Losses and accuracies come from the rounded product; metrics that read the head's rows
  see its dequantized weights.
* `-static` takes one scale a layer from the least and the largest input that the unrounded model
  has on the rows of `precision_options.calibration`; values beyond are clamped.
* `-kv8` and `-kv4` (`kv8` alone leaves weights and activations as they are) round keys and values
  of attention as they are written to the cache, after rotary positions: asymmetric integers, one
  scale and zero point for each token and head. Of transformers trained here and of causal language
  models of Hugging Face with such a cache, in all layers, whatever the scope of the weights.
* `ternary` is s clamp(round(w / s), -1, 1), s the mean of |w| over the tensor, of BitNet b1.58 (Ma
  et al. 2024); it is counted with the 2 bits in which it is stored. `ternary-dynamic` also rounds
  inputs to int8 as BitNet does, symmetrically, with max|x| / 127 as scale of a token.
* `gptq-`, `awq-`, `hqq-` choose the integers of a format by more than the nearest one, `smooth-`
  moves the range of inputs into weights. `gptq-`: column by column, with errors made good by the
  columns after (Frantar et al. 2023; block by block, behind the rounded blocks before; damping and
  act-order are `precision_options.gptq`). `awq-`: scales by mean activations, and clipping (Lin et
  al. 2024). `smooth-`: scales by largest inputs (Xiao et al. 2023, `precision_options.smooth`).
  `hqq-`: scales or zero points that fit the weights, without data (Badri & Shaji 2023). The first
  three, of linear layers and convolutions, read `precision_options.calibration.samples` training
  rows, drawn by its `seed` and `data.seed`. Weights are given in the checkpoint's own basis, scales
  divided out, so that features stay comparable. Embeddings are rounded to nearest, but tied ones by
  the inputs of the head and by lookups alike.
* `rot-` rounds in a basis in which a random Hadamard rotation of the residual stream is folded into
  the weights (Ashkboos et al. 2024, the part without rotations at run time; a layer norm asks for
  one that keeps the mean). Its features are those of the checkpoint's own basis. A model whose
  blocks do not read the stream through layer or RMS norms alone is refused: convolutions, BERT.
* `qat-` fine-tunes the checkpoint with straight-through fake quantization for
  `precision_options.qat.epochs`, then rounds. `ft-fp32` is the same fine-tuning without
  quantization: compare `qat-` with it, not with the checkpoint. Biases and norms are updated, and
  so are, in full, matrices that are not rounded: position embeddings, and with `/body` or `/head`
  what is outside.
* `efqat-` updates only the share `precision_options.efqat.share` of the rows, those of largest mean
  magnitude (Ashkboos et al. 2024): of each weight (`select: rows`, their CWPL), of the network
  (`network`, CWPN), or whole weights (`layers`, LWPN), chosen once or again every `every` steps.
  All other rows stay as they are bit for bit, weight decay included. `scales: trained` trains
  scales and zero points, too, by the gradients of Esser et al. 2020 and Bhalgat et al. 2020,
  without weight decay; else they follow the weights.

## Training in low precision

`train.quantize: int8 | int4 | int2 | fp8 | ternary` rounds the weights in every pass from the first
step on; `qat-` does it after a training. The optimizer keeps unrounded weights, which get the
gradient of the rounded ones unchanged (straight-through, Bengio et al. 2013), also where values
were clamped. A checkpoint holds these unrounded weights, and every precision rounds them anew:

* Its own precision is the network that was trained, bit for bit:
  {own}. The last
  rounds inputs, too, and neither head nor embeddings, as BitNet b1.58 does, whose norms before each
  layer are a matter of the architecture and left out.
* `fp32` is the network of the unrounded weights, which no loss was ever computed of: what it lacks
  shows how far the training relied on rounding. Columns that compare with the reference
  (`logits_error`, `weight_error`) compare with it.
* Running losses and `zero_error_epoch` are those of the network that was trained.
"""


def document() -> str:
    """The text of docs/precision.md."""
    header = (
        "name",
        "bits",
        "one scale for",
        "bits per weight, fp32",
        "bf16",
        "activations",
        "rounded as by torchao's",
    )
    lines = [header, ("---",) * len(header), *(_row(precision) for precision in _shown())]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    own = ", ".join(f"`{precision}`" for precision in TRAINED.values())
    return _PAGE.format(grammar=GRAMMAR, shape=_SHAPE, table=table, own=own)


def _shown() -> Iterator[Precision]:
    for precision in known_precisions().values():
        prefixed = precision.tuning or precision.method or precision.rotated
        if (
            not prefixed
            and precision.symmetric
            and (
                precision.activation is None
                or precision.family == "float"
                or precision.name in _WITH_INPUTS
            )
        ):
            yield precision


def _row(precision: Precision) -> tuple[str, ...]:
    per_weight = [
        precision.bits
        if precision.family == "cast"
        else stored_bits(_SHAPE, dtype, precision) / (_SHAPE[0] * _SHAPE[1])
        for dtype in (torch.float32, torch.bfloat16)
    ]
    return (
        f"`{precision.name}`",
        str(precision.bits),
        _scale_of(precision),
        *(f"{bits:.3f}".rstrip("0").rstrip(".") for bits in per_weight),
        precision.format
        if precision.family == "cast"
        else precision.activation or "as the checkpoint",
        _reference(precision),
    )


def _scale_of(precision: Precision) -> str:
    if precision.family == "cast":
        return "no scale"
    if precision.group is not None:
        return f"{precision.group} weights"
    return "the tensor" if precision.granularity == "tensor" else "an output channel"


def _reference(precision: Precision) -> str:
    if precision.family == "cast":
        return "PyTorch's `to`"
    if precision.format == "ternary":
        return "`quantize_bitnet_weight`"
    if precision.format == "int8" and precision.activation is not None:
        return "`Int8Tensor`"
    if precision.family == "int":
        return "`IntxUnpackedToInt8Tensor`"
    return {"fp": "`Float8Tensor`", "mx": "`MXTensor`", "nv": "`NVFP4Tensor`", "nf": "`NF4Tensor`"}[
        precision.format[:2]
    ]

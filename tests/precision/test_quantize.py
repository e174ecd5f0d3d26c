"""What `quantize` does to whole models."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.pytorch_utils import Conv1D

from study.columns import METRICS
from study.models import NanoGPTModel, SimpleCNN, build_model
from study.models.foreign import HubModel
from study.precision import (
    PrecisionError,
    RelativeError,
    parse_precision,
    quantization_record,
    quantize,
)
from study.precision.ao import quantize_
from study.precision.apply import HALF, HalfTransposed
from study.precision.layers import covered_weights

CLASSES, WIDTH, CONTEXT = 104, 64, 16


class LanguageModel(nn.Module):
    """A GPT without attention.

    Embedding, position embedding, a residual hidden layer, norm, head.
    """

    def __init__(self, tied: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, WIDTH)
        self.position = nn.Embedding(CONTEXT, WIDTH)
        self.expand = nn.Linear(WIDTH, 4 * WIDTH)
        self.contract = nn.Linear(4 * WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def features(self, x: Tensor) -> Tensor:
        h = self.embedding(x) + self.position.weight[: x.shape[1]]
        return self.norm(h + self.contract(F.gelu(self.expand(h))))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class VisionModel(nn.Module):
    """A small network of convolutions.

    A convolution, a depthwise one with batch norm, a layer scale of shape (d, 1, 1), a head.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 64, 4, stride=4)
        self.depthwise = nn.Conv2d(64, 64, 3, groups=64, padding=1)
        self.bn = nn.BatchNorm2d(64)
        self.layer_scale = nn.Parameter(torch.full((64, 1, 1), 0.3))
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        h = h + self.layer_scale * self.bn(self.depthwise(h))
        return self.head(h.mean((2, 3)))


@pytest.fixture
def language_model() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel().eval()


@pytest.fixture
def tokens() -> Tensor:
    return torch.randint(0, CLASSES, (3, CONTEXT), generator=torch.Generator().manual_seed(1))


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict(keep_vars=False).items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


ONE_OF_EACH = [
    "bf16",
    "fp16",
    "int8",
    "int4-g32-asym",
    "int3-tensor",
    "fp8",
    "mxfp6-e3m2",
    "nvfp4",
    "nf4",
]
DYNAMIC = ["int8-dynamic", "int4-g32-dynamic"]


@pytest.mark.parametrize("name", ["fp32", *ONE_OF_EACH, *DYNAMIC])
def test_the_model_is_untouched_and_the_copy_is_deterministic(
    language_model: LanguageModel, tokens: Tensor, name: str
) -> None:
    before = snapshot(language_model)
    first, second = quantize(language_model, name), quantize(language_model, parse_precision(name))
    assert same(before, snapshot(language_model))
    assert all(parameter.requires_grad for parameter in language_model.parameters())
    assert type(language_model.head) is nn.Linear
    assert same(snapshot(first), snapshot(second))
    assert torch.equal(first(tokens), second(tokens))
    assert not any(parameter.requires_grad for parameter in first.parameters())
    own = {parameter.data_ptr() for parameter in language_model.parameters()}
    assert own.isdisjoint(parameter.data_ptr() for parameter in first.parameters())


@pytest.mark.parametrize("name", [*ONE_OF_EACH, *DYNAMIC])
def test_ties_stay_tied_and_the_lookup_is_the_dequantized_head(
    language_model: LanguageModel, tokens: Tensor, name: str
) -> None:
    measured = quantize(language_model, name)
    assert measured.head.weight is measured.embedding.weight
    assert not torch.equal(measured.head.weight.float(), language_model.head.weight)
    layer: Any = measured.head  # what it holds depends on the format
    head = layer.packed.dequantize() if name == "int8-dynamic" else layer.weight
    assert torch.equal(measured.embedding(tokens), head[tokens])
    record = quantization_record(language_model, measured, parse_precision(name))
    assert record["tied_embedding_changed"] is True


LEVELS = {"int8": 256, "int4": 16, "int3-asym": 8, "int2": 4, "mxfp4": 15, "nf4": 16}
BLOCKS = {"mxfp4": 32, "nf4": 64}  # weights that share a scale; else a row
WIDE = nn.Sequential(nn.Linear(1024, 8, bias=False))  # more weights in a row than int8 has levels
MODELS = {
    "tied": LanguageModel(),
    "untied": LanguageModel(tied=False),
    "vision": VisionModel(),
    "wide": WIDE,
}
CASES = [
    (model, name) for model in MODELS for name in LEVELS if model != "vision" or name not in BLOCKS
]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_every_layer_of_the_record_is_really_quantized(kind: str, name: str) -> None:
    model = MODELS[kind]
    measured = quantize(model, name)
    record = quantization_record(model, measured, parse_precision(name))
    layers = json.loads(str(record["quantized_layers"]))
    expected = {
        f"{path}.weight"
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Embedding | nn.Conv2d) and path != "position"
    }
    assert set(layers) == expected
    after = dict(measured.named_parameters(remove_duplicate=False))
    before = dict(model.named_parameters(remove_duplicate=False))
    for layer in layers:
        for row in after[layer].flatten(1):
            for block in row.split(BLOCKS.get(name, len(row))):
                assert len(block.unique()) <= LEVELS[name]
        assert not torch.equal(after[layer], before[layer])
    for other in before.keys() - set(layers):
        assert torch.equal(after[other], before[other])
    sizes = {before[layer]: before[layer].numel() for layer in layers}
    numbers = {
        key
        for key, value in record.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    assert numbers <= METRICS.keys(), "what a column means stands in the store"
    assert record["quantized_share"] == sum(sizes.values()) / sum(
        p.numel() for p in model.parameters()
    )


def test_scopes(language_model: LanguageModel) -> None:
    def changed(model: nn.Module, name: str) -> set[str]:
        before, after = snapshot(model), snapshot(quantize(model, name))
        return {
            key.removesuffix(".weight")
            for key in before
            if not torch.equal(before[key], after[key])
        }

    assert changed(language_model, "int4") == {"embedding", "head", "expand", "contract"}
    assert changed(language_model, "int4/body") == {"expand", "contract"}
    assert changed(language_model, "int4/head") == {"embedding", "head"}
    untied = LanguageModel(tied=False)
    assert changed(untied, "int4") == {"embedding", "head", "expand", "contract"}
    assert changed(untied, "int4/body") == {"expand", "contract"}
    assert changed(untied, "int4/head") == {"head"}
    assert changed(VisionModel(), "int4/body") == {"stem", "depthwise"}


def test_scopes_by_layer() -> None:
    settings = NanoGPTModel(kind="nanogpt", width=16, depth=2, heads=2, tied=False)
    model = build_model(settings, classes=10, input_shape=(8,), seed=0)

    def covered(scope: str) -> set[str]:
        return {
            weight.name.removesuffix(".weight")
            for weight in covered_weights(model, parse_precision(f"int4/{scope}"))
        }

    attention = {f"blocks.{n}.attention.{name}" for n in (0, 1) for name in ("qkv", "out")}
    mlp = {f"blocks.{n}.{name}" for n in (0, 1) for name in ("expand", "contract")}
    assert covered("first") == {"embedding"}
    assert covered("attention") == attention
    assert covered("mlp") == mlp
    assert covered("block2") == {name for name in attention | mlp if name.startswith("blocks.1.")}
    assert covered("body") == covered("block1") | covered("block2")
    with pytest.raises(PrecisionError, match=r"/block3: Transformer has 2 blocks: .*/block2"):
        covered("block3")


def test_scopes_by_layer_need_blocks_and_attention() -> None:
    settings = SimpleCNN(kind="simple_cnn", width=8, depth=3)
    model = build_model(settings, classes=10, input_shape=(1, 8, 8), seed=0)
    assert len(covered_weights(model, parse_precision("int4/block2"))) == 1
    with pytest.raises(PrecisionError, match="no attention in its blocks"):
        quantize(model, "int4/mlp")
    with pytest.raises(PrecisionError, match="cannot tell the blocks of VisionModel"):
        quantize(VisionModel(), "int4/block1")


def test_tied_embedding_of_the_record_follows_the_scope(language_model: LanguageModel) -> None:
    def column(model: nn.Module, name: str) -> object:
        return quantization_record(model, quantize(model, name), parse_precision(name))[
            "tied_embedding_changed"
        ]

    assert column(language_model, "int4/head") is True
    assert column(language_model, "int4/body") is False
    assert column(language_model, "fp32") is False
    assert column(LanguageModel(tied=False), "int4") is None


def test_positions_are_told_by_attribute_and_by_name() -> None:
    table: Any = nn.Embedding(8, 64)
    model = nn.ModuleDict({"wpe": nn.Embedding(8, 64), "table": table, "wte": nn.Embedding(8, 64)})
    assert [w.name for w in covered_weights(model, parse_precision("int4"))] == [
        "table.weight",
        "wte.weight",
    ]
    table.positional = True
    assert [w.name for w in covered_weights(model, parse_precision("int4"))] == ["wte.weight"]


@pytest.mark.parametrize(
    "name",
    ["pos_embedding", "relative_position_bias_table", "rel_pos_h", "image_positions", "pos_emb"],
)
def test_tables_of_positions_stay(name: str) -> None:
    model = nn.Sequential(nn.Linear(8, 8))
    model.register_parameter(name, nn.Parameter(torch.ones(4, 8)))
    assert [w.name for w in covered_weights(model, parse_precision("int4"))] == ["0.weight"]


def test_an_embedding_that_may_hold_positions_asks_for_a_mark() -> None:
    tags: Any = nn.Embedding(8, 64)
    model = nn.ModuleDict({"pos_tags": tags, "wte": nn.Embedding(8, 64)})
    with pytest.raises(
        PrecisionError, match=r"pos_tags \(Embedding, \(8, 64\)\) may be a table of positions"
    ):
        covered_weights(model, parse_precision("int4"))
    tags.positional = False
    assert [w.name for w in covered_weights(model, parse_precision("int4"))] == [
        "pos_tags.weight",
        "wte.weight",
    ]
    tags.positional = True
    assert [w.name for w in covered_weights(model, parse_precision("int4"))] == ["wte.weight"]


@pytest.mark.parametrize(
    "name", ["position_head", "pos_projection", "post_attention", "position_query"]
)
def test_a_matrix_that_only_begins_like_a_position_is_not_left_out_in_silence(name: str) -> None:
    model = nn.Sequential(nn.Linear(8, 8))
    model.register_parameter(name, nn.Parameter(torch.ones(4, 8)))
    with pytest.raises(
        PrecisionError, match=rf"{name} of Sequential \(4, 8\) is a matrix that no format covers"
    ):
        covered_weights(model, parse_precision("int4"))


def transposed(bias: bool) -> nn.Module:
    """Hugging Face's linear layer, which always has a bias."""
    layer = Conv1D(96, 256)
    nn.init.normal_(layer.bias if bias else layer.weight)
    return layer


LAYERS = {
    "linear": (lambda bias: nn.Linear(256, 96, bias=bias), (512, 256)),
    "transposed": (transposed, (512, 256)),
    "1d": (lambda bias: nn.Conv1d(32, 24, 7, stride=2, bias=bias), (4, 32, 80)),
    "2d": (
        lambda bias: nn.Conv2d(16, 24, 3, padding="same", padding_mode="reflect", bias=bias),
        (4, 16, 12, 12),
    ),
    "depthwise": (
        lambda bias: nn.Conv2d(24, 24, 7, padding=3, groups=24, bias=bias),
        (4, 24, 12, 12),
    ),
}


@pytest.mark.parametrize(("name", "unit"), [("bf16", 2**-8), ("fp16", 2**-11)])
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("bias", [True, False])
def test_layers_of_a_cast_round_the_exact_result_once(
    name: str, unit: float, kind: str, bias: bool
) -> None:
    """Against float64 on the cast operands.

    One rounding, beside what float32 sums of at most 256 products err by.
    """
    torch.manual_seed(0)
    make, shape = LAYERS[kind]
    half = quantize(nn.Sequential(make(bias)), name)
    assert isinstance(half[0], (*HALF.values(), HalfTransposed))
    x = torch.randn(shape).to(half.get_parameter("0.weight").dtype)
    output = half(x)
    exact_layer = make(bias).double()
    exact_layer.load_state_dict(half[0].state_dict())
    exact = exact_layer(x.double())
    for parameter in exact_layer.parameters():
        parameter.data.abs_()
    sums = 257 * 2**-24 * exact_layer(x.double().abs())
    assert output.dtype == x.dtype
    assert bool(
        ((output.double() - exact).abs() <= unit * exact.abs() + 1.01 * sums + 2**-25).all()
    )  # subnormals
    assert float((output == exact.to(x.dtype)).float().mean()) > 0.99


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_rotary_angles_are_not_rounded(name: str) -> None:
    """With rounded frequencies the angles of late positions are off by turns.

    So the comparison is with the model in float64.
    """
    sizes: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    torch.manual_seed(0)
    model = HubModel(
        LlamaForCausalLM(LlamaConfig(vocab_size=90, max_position_embeddings=600, **sizes)).eval()
    )
    tokens = torch.randint(0, 90, (1, 600), generator=torch.Generator().manual_seed(1))
    half = quantize(model, name)
    exact = deepcopy(half)
    for module in exact.modules():
        module.__class__ = next(
            (plain for plain, each in HALF.items() if each is type(module)), module.__class__
        )
    exact.double()
    late = slice(500, 600)
    values, expected = half.features(tokens)[:, late].double(), exact.features(tokens)[:, late]
    assert float((values - expected).norm() / expected.norm()) < {"bf16": 0.03, "fp16": 0.004}[name]
    frequencies = [buffer for path, buffer in half.named_buffers() if path.endswith("inv_freq")]
    assert frequencies and all(buffer.dtype == torch.float32 for buffer in frequencies)


@pytest.mark.parametrize(
    ("name", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)]
)
def test_casts_convert_the_whole_model(name: str, dtype: torch.dtype) -> None:
    model = VisionModel().double()
    measured = quantize(model, name)
    for key, tensor in measured.state_dict().items():
        if model.state_dict()[key].is_floating_point():
            assert torch.equal(tensor, model.state_dict()[key].to(dtype))
            assert tensor.dtype == dtype
        else:
            assert torch.equal(tensor, model.state_dict()[key])
    language = quantize(LanguageModel(), name)
    assert language.features(torch.zeros(1, 4, dtype=torch.int64)).dtype == dtype
    assert language.head.weight is language.embedding.weight


def test_a_checkpoint_that_overflows_is_named() -> None:
    model = nn.Sequential(nn.Linear(64, 64))
    with torch.no_grad():
        model.get_parameter("0.weight")[3, 5] = 1e6
    with pytest.raises(PrecisionError, match=r"0\.weight .* not finite"):
        quantize(model, "fp16")
    with torch.no_grad():
        model.get_parameter("0.weight")[3, 5] = float("nan")
    for name in ["bf16", "int4", "fp8", "mxfp4"]:
        with pytest.raises(PrecisionError, match=r"0\.weight .* not finite"):
            quantize(model, name)


def test_int8_dynamic_equals_torchao_module(tokens: Tensor) -> None:
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig

    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        model = LanguageModel(tied=False).to(dtype)
        measured = quantize(model, "int8-dynamic")
        expected = deepcopy(model)
        quantize_(expected, Int8DynamicActivationInt8WeightConfig(set_inductor_config=False))
        assert type(expected.head.weight.data).__name__ == "Int8Tensor"
        x = torch.randn(
            5, 7, WIDTH, generator=torch.Generator().manual_seed(2), dtype=torch.float32
        ).to(dtype)
        for layer in ["expand", "head"]:
            assert torch.equal(getattr(measured, layer)(x), getattr(expected, layer)(x))
        expected.embedding = measured.embedding  # torchao's default leaves embeddings as they are
        assert torch.equal(measured(tokens), expected(tokens))
        assert not torch.equal(measured(tokens), quantize(model, "int8")(tokens))


@pytest.mark.parametrize("name", ["int4-g32-dynamic", "int3-asym-dynamic", "int8-g64-dynamic"])
def test_other_dynamic_formats_equal_torchao_module(name: str) -> None:
    from torchao.quantization import (
        Int8DynamicActivationIntxWeightConfig,
        MappingType,
        PerAxis,
        PerGroup,
    )

    precision = parse_precision(name)
    linear = nn.Linear(128, 48)
    measured = quantize(linear, name)
    config = Int8DynamicActivationIntxWeightConfig(
        weight_dtype=getattr(torch, f"int{precision.bits}"),
        weight_granularity=PerAxis(0) if precision.group is None else PerGroup(precision.group),
        weight_mapping_type=MappingType.SYMMETRIC
        if precision.symmetric
        else MappingType.ASYMMETRIC,
    )
    quantize_(linear, config)
    x = torch.randn(4, 9, 128)
    assert torch.equal(measured(x), linear(x))
    assert torch.equal(measured.weight, linear.weight.data.dequantize())


def test_dynamic_activations_against_a_plain_reference() -> None:
    """int8-dynamic by hand.

    Both sides to integers with one scale a row, an integer product, scales applied.
    """
    torch.manual_seed(3)
    linear = nn.Linear(64, 8)
    x = torch.randn(6, 64)

    def rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
        scale = rows.abs().amax(1, keepdim=True) / 127.5
        return (rows * (1 / scale)).round().clamp(-128, 127).double(), scale.double()

    (a, a_scale), (w, w_scale) = rounded(x), rounded(linear.weight.data)
    expected = a @ w.T * a_scale * w_scale.T + linear.bias.double()
    torch.testing.assert_close(
        quantize(linear, "int8-dynamic")(x).double(), expected, rtol=1e-5, atol=1e-6
    )


def test_inputs_of_what_is_no_linear_layer_or_convolution_are_refused() -> None:
    attention = nn.MultiheadAttention(64, 4)
    with pytest.raises(PrecisionError, match=r"in_proj_weight .* take 'int4-g32'"):
        quantize(attention, "int4-g32-dynamic")
    with pytest.raises(PrecisionError, match=r"its 4 input channels do not divide .* take 'mxfp8'"):
        quantize(nn.Conv2d(4, 64, 4), "mxfp8-dynamic")


def test_attention_projections_are_covered() -> None:
    attention = nn.MultiheadAttention(64, 4)
    measured = quantize(attention, "int4")
    for name in ["in_proj_weight", "out_proj.weight"]:
        row = measured.get_parameter(name)[0]
        assert len(row.unique()) <= 16 < len(attention.get_parameter(name)[0].unique())


def test_hugging_face_linear_layers_have_their_channels_last() -> None:
    class Conv1D(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nf = 48
            self.weight = nn.Parameter(torch.randn(64, 48))

    model = nn.Sequential(Conv1D())
    linear = nn.Linear(64, 48, bias=False)
    linear.weight = nn.Parameter(model.get_parameter("0.weight").data.t().clone())
    rounded = quantize(model, "int3-g32").get_parameter("0.weight")
    assert torch.equal(rounded, quantize(linear, "int3-g32").weight.t())


def test_a_matrix_that_no_format_covers_is_an_error() -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.free = nn.Parameter(torch.randn(20, 64))
            self.head = nn.Linear(64, 10)

    model = Table()
    with pytest.raises(
        PrecisionError, match=r"free of Table \(20, 64\) is a matrix .* or measure 'int4-g32/head'"
    ):
        quantize(model, "int4-g32")
    assert torch.equal(quantize(model, "int4-g32/head").free, model.free)
    with pytest.raises(PrecisionError, match="weight_ih_l0"):
        quantize(nn.LSTM(8, 8), "int8")
    with pytest.raises(PrecisionError, match="ConvTranspose2d"):
        quantize(nn.Sequential(nn.ConvTranspose2d(8, 8, 3)), "int8")


def test_scope_without_a_head_is_an_error() -> None:
    with pytest.raises(PrecisionError, match=r"cannot tell the head of Linear.* or measure 'int8'"):
        quantize(nn.Linear(4, 4), "int8/head")
    model = nn.Sequential(nn.LayerNorm(4))
    with pytest.raises(PrecisionError, match="no weights in this scope"):
        quantize(model, "int8")


@pytest.mark.parametrize("name", ["qat-int4", "efqat-int4", "ft-fp32"])
def test_fine_tuned_precisions_need_data(name: str) -> None:
    with pytest.raises(PrecisionError, match=r"study\.training\.finetune"):
        quantize(nn.Linear(4, 4), name)


def test_record_of_a_small_model_by_hand() -> None:
    """64 x 32 weights in int4 with groups of 32, counted by hand.

    A bias, and a head that stays.
    """
    model = nn.ModuleDict({"fc": nn.Linear(32, 64), "head": nn.Linear(64, 10)})
    measured = quantize(model, "int4-g32-asym/body")
    record = quantization_record(model, measured, parse_precision("int4-g32-asym/body"))
    assert record["quantized_layers"] == '["fc.weight"]'
    assert record["quantized_share"] == 2048 / (2048 + 64 + 640 + 10)
    assert record["bits_per_weight"] == 4 + (32 + 8) / 32
    assert record["model_bytes"] == 2048 // 2 + 64 * 5 + 4 * (64 + 640 + 10)
    w, q = (m.get_parameter("fc.weight").detach().double().numpy() for m in (model, measured))
    assert record["weight_error"] == pytest.approx(
        ((w - q) ** 2).sum() ** 0.5 / (w**2).sum() ** 0.5, rel=1e-7
    )
    assert 0.03 < float(record["weight_error"] or 0) < 0.12


def test_record_of_casts() -> None:
    model = VisionModel()
    parameters = sum(p.numel() for p in model.parameters())
    floats = parameters + 128
    for name, bits in [("fp32", 32), ("bf16", 16), ("fp16", 16)]:
        record = quantization_record(model, quantize(model, name), parse_precision(name))
        assert record["bits_per_weight"] == bits
        assert record["model_bytes"] == floats * bits // 8 + 8  # batch norm counts batches in int64
        assert record["quantized_share"] == (0.0 if name == "fp32" else 1.0)
        if name == "fp32":
            assert record["weight_error"] == 0
            assert record["quantized_layers"] == "[]"
        else:
            assert 0 < float(record["weight_error"] or 0) < 2 ** -(8 if name == "bf16" else 11)


def test_relative_error_is_additive_and_undefined_where_it_must_be() -> None:
    x, reference = torch.randn(40, 7, dtype=torch.float64), torch.randn(40, 7, dtype=torch.float64)
    error = RelativeError()
    assert error.value is None
    for part in range(0, 40, 10):
        error.update(x[part : part + 10], reference[part : part + 10])
    assert error.value == pytest.approx(float((x - reference).norm() / reference.norm()), rel=1e-12)
    error.update(
        torch.full((3,), 1e4, dtype=torch.float16), torch.full((3,), -6e4, dtype=torch.bfloat16)
    )
    assert error.value == pytest.approx(7 / 6, rel=1e-2)
    error.update(torch.tensor([float("inf")]), torch.tensor([1.0]))
    assert error.value is None
    with pytest.raises(ValueError, match="shapes differ"):
        error.update(x, reference[1:])


def test_weight_error_falls_with_bits_and_groups(language_model: LanguageModel) -> None:
    def error(name: str) -> float:
        value = quantization_record(
            language_model, quantize(language_model, name), parse_precision(name)
        )["weight_error"]
        assert isinstance(value, float)
        return value

    errors = [error(f"int{bits}") for bits in (8, 7, 6, 5, 4, 3, 2)]
    assert errors == sorted(errors)
    assert error("int4-g32") < error("int4") < error("int4-tensor")
    assert error("fp8") < error("mxfp6-e3m2") < error("nvfp4") < error("mxfp4")

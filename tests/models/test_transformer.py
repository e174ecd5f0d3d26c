"""Our transformers against those of Hugging Face.

GPT-Neo against GPTNeoForCausalLM, nanoGPT against GPT-2 with exact GELU.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from study.models import GPTNeoModel, NanoGPTModel, build_model, save_checkpoint
from study.models.base import FeatureModel
from study.models.transformer import Block
from study.training.losses import Loss, head_loss

CLASSES = 503


@pytest.fixture(scope="module")
def neo(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureModel, torch.nn.Module]:
    """Our GPT-Neo and Hugging Face's, with the same weights.

    Three blocks (global, local, global) and window 256.
    """
    ours = build_model(
        GPTNeoModel(width=64, depth=3, heads=4), classes=CLASSES, context=2048, seed=3
    )
    generator = torch.Generator().manual_seed(4)
    with (
        torch.no_grad()
    ):  # larger weights than at initialisation, so that attention is far from uniform
        for parameter in ours.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.mul_(3 if parameter.ndim == 2 else 1).add_(0.02 * noise)
    folder = tmp_path_factory.mktemp("neo")
    save_checkpoint(ours, folder)
    return ours, AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()


def tokens(batch: int, length: int) -> Tensor:
    return torch.randint(
        0, CLASSES, (batch, length), generator=torch.Generator().manual_seed(length)
    )


@pytest.mark.parametrize("length", [1, 2, 255, 256, 257, 300, 511, 513, 2048])
def test_logits_equal_hugging_face(neo, length: int) -> None:
    ours, theirs = neo
    x = tokens(1 if length == 2048 else 2, length)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x).logits, rtol=0, atol=1e-4)


def test_the_local_window_matters_at_length_300(neo) -> None:
    """What enters a local block at position 0 reaches position 255.

    That is the last with it among its 256 keys; 256 is not.
    """
    ours, _ = neo
    x = tokens(1, 300)
    local = ours.blocks[1]
    hidden = ours.embedding(x) + ours.position.weight[:300]
    changed = hidden.clone()
    changed[:, 0] = 3 * torch.randn(64)
    with torch.no_grad():
        difference = (local(hidden) - local(changed)).abs().amax(-1)[0]
    assert difference[255] > 1e-6
    assert torch.equal(difference[256:], torch.zeros(44))


@pytest.mark.parametrize("length", [64, 600])
def test_loss_and_gradients_equal_hugging_face(neo, length: int) -> None:
    ours, theirs = neo
    x = tokens(2, length)
    ours.zero_grad()
    theirs.zero_grad()
    sums = head_loss(ours.features(x[:, :-1]), ours.head, x[:, 1:], Loss())
    loss = sums.loss / x[:, 1:].numel()
    loss.backward()
    reference = theirs(x, labels=x).loss
    reference.backward()
    assert loss.item() == pytest.approx(reference.item(), abs=1e-5)
    their_grads = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    attention = [
        their_grads[f"transformer.h.1.attn.attention.{part}_proj.weight"] for part in "qkv"
    ]
    pairs = [
        (ours.embedding.weight.grad, their_grads["transformer.wte.weight"]),
        (ours.position.weight.grad, their_grads["transformer.wpe.weight"]),
        (ours.blocks[1].attention.qkv.weight.grad, torch.cat(attention)),
        (
            ours.blocks[1].attention.out.bias.grad,
            their_grads["transformer.h.1.attn.attention.out_proj.bias"],
        ),
        (ours.blocks[2].expand.weight.grad, their_grads["transformer.h.2.mlp.c_fc.weight"]),
        (ours.blocks[0].norm2.weight.grad, their_grads["transformer.h.0.ln_2.weight"]),
        (ours.norm.bias.grad, their_grads["transformer.ln_f.bias"]),
    ]
    for mine, other in pairs:
        assert (mine - other).norm() <= 1e-4 * other.norm()


@pytest.mark.parametrize("bias", [True, False])
def test_nanogpt_equals_gpt2_with_exact_gelu(bias: bool) -> None:
    """GPT-2 of transformers is the same network but for the activation.

    Its Conv1D weights are transposed.
    """
    ours = build_model(
        NanoGPTModel(width=48, depth=2, heads=4, bias=bias), classes=61, context=32, seed=1
    )
    config = GPT2Config(
        vocab_size=61, n_positions=32, n_embd=48, n_layer=2, n_head=4, activation_function="gelu",
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    theirs = GPT2LMHeadModel(config).eval()
    state = dict(theirs.named_parameters())
    generator = torch.Generator().manual_seed(5)
    names = {"attention.qkv": "attn.c_attn", "attention.out": "attn.c_proj", "expand": "mlp.c_fc"}
    names |= {"contract": "mlp.c_proj", "norm1": "ln_1", "norm2": "ln_2"}
    outside = {"embedding": "wte", "position": "wpe", "norm": "ln_f"}
    with torch.no_grad():
        for name, value in state.items():
            value.zero_() if name.endswith("bias") else None
        for name, value in ours.named_parameters():
            value.normal_(0, 0.2, generator=generator)
            path, _, kind = name.rpartition(".")
            if path in outside:
                state[f"transformer.{outside[path]}.{kind}"].copy_(value)
            else:
                _, block, inner = path.split(".", 2)
                matrix = value.T if value.ndim == 2 else value
                state[f"transformer.h.{block}.{names[inner]}.{kind}"].copy_(matrix)
        x = torch.randint(0, 61, (3, 32), generator=generator)
        torch.testing.assert_close(ours(x), theirs(x).logits, rtol=0, atol=2e-4)


def test_initialisation_is_seeded_and_leaves_the_global_generator_alone() -> None:
    config = GPTNeoModel(width=64, depth=2, heads=4, positions=512)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again, other = (
        build_model(config, classes=700, context=64, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)
    )
    assert not torch.equal(first.head.weight, other.head.weight)


@pytest.mark.parametrize(
    ("config", "stds"),
    [
        (
            GPTNeoModel(width=256, depth=2),
            {"qkv": 0.02, "out": 0.02, "expand": 0.02, "contract": 0.02},
        ),
        (
            NanoGPTModel(width=256, depth=2),
            {"qkv": 0.02, "out": 0.01, "expand": 0.02, "contract": 0.01},
        ),
        (
            NanoGPTModel(width=256, depth=2, init="kaiming"),
            {
                "qkv": (2 / 256) ** 0.5,
                "out": (2 / 256) ** 0.5,
                "expand": (2 / 256) ** 0.5,
                "contract": (2 / 1024) ** 0.5,
            },
        ),
    ],
)
def test_initialisation_has_the_stated_spread(config, stds: dict[str, float]) -> None:
    model = build_model(config, classes=300, context=64, seed=0)
    block = model.get_submodule("blocks.0")
    assert isinstance(block, Block)
    matrices = {
        "qkv": block.attention.qkv,
        "out": block.attention.out,
        "expand": block.expand,
        "contract": block.contract,
    }
    for name, std in stds.items():
        assert matrices[name].weight.std().item() == pytest.approx(std, rel=0.02)
        assert matrices[name].bias is None or not matrices[name].bias.any()
    assert model.embedding.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert torch.equal(block.norm1.weight, torch.ones(256))


def test_features_head_and_layers_are_what_forward_uses() -> None:
    model = build_model(GPTNeoModel(width=32, depth=3, heads=4), classes=20, context=16, seed=0)
    x, seen = torch.randint(0, 20, (2, 9)), {}
    for name, layer in model.layers.items():
        layer.register_forward_hook(lambda _m, _i, output, name=name: seen.update({name: output}))
    features = model.features(x)
    assert list(seen) == ["block1", "block2", "block3"]
    assert torch.equal(model.get_submodule("norm")(seen["block3"]), features)
    assert torch.equal(F.linear(features, model.head.weight), model(x))
    assert model.tied
    assert model.head.weight is model.embedding.weight


def test_untied_head_is_its_own_parameter() -> None:
    model = build_model(NanoGPTModel(width=32, depth=1, tied=False), classes=20, context=16, seed=0)
    assert not model.tied
    assert model.head.weight is not model.embedding.weight
    assert not torch.equal(model.head.weight, model.embedding.weight)


def test_too_many_tokens_are_refused() -> None:
    model = build_model(NanoGPTModel(width=32, depth=1), classes=20, context=16, seed=0)
    with pytest.raises(ValueError, match=r"17 tokens.*only 16 positions"):
        model(torch.zeros(1, 17, dtype=torch.int64))


def test_a_copy_keeps_the_tie(tmp_path: Path) -> None:
    import copy

    model = copy.deepcopy(
        build_model(GPTNeoModel(width=32, depth=1, heads=4), classes=20, context=16, seed=0)
    )
    assert model.head.weight is model.embedding.weight

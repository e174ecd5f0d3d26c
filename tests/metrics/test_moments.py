"""One-pass moments against two passes in numpy, in any order and split."""

from __future__ import annotations

import itertools

import metrics_brute_force as brute
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from study.metrics import ClassMoments, MomentsError
from study.metrics.moments import CHUNK, all_finite


def samples(
    count: int, dim: int, classes: int, seed: int, offset: float = 0.0
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (count,), generator=generator)
    return torch.randn(count, dim, dtype=torch.float64, generator=generator) + offset, labels


def collected(
    features: Tensor, labels: Tensor, classes: int, *, scatter: bool = True
) -> ClassMoments:
    moments = ClassMoments(classes, features.shape[1], scatter=scatter)
    moments.update(features, labels)
    return moments


def assert_same(
    ours: ClassMoments, other: ClassMoments, *, rtol: float = 1e-10, atol: float = 0.0
) -> None:
    assert torch.equal(ours.counts, other.counts)
    torch.testing.assert_close(ours.means, other.means, rtol=rtol, atol=atol)
    torch.testing.assert_close(ours.variance_norms, other.variance_norms, rtol=rtol, atol=atol)
    torch.testing.assert_close(ours.scatter, other.scatter, rtol=rtol, atol=atol)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(data=st.data())
def test_any_batches_equal_two_passes(data: st.DataObject) -> None:
    """Empty batches, empty classes and one-sample classes included."""
    classes, dim = data.draw(st.integers(1, 9), "classes"), data.draw(st.integers(1, 5), "dim")
    sizes = data.draw(st.lists(st.integers(0, 7), max_size=6), "sizes")
    dtype = data.draw(
        st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]), "dtype"
    )
    offset = data.draw(st.sampled_from([0.0, -3.0, 1e3]), "offset")
    x, y = samples(
        sum(sizes), dim, classes, seed=data.draw(st.integers(0, 10**6), "seed"), offset=offset
    )
    x = x.to(dtype)
    moments = ClassMoments(classes, dim, scatter=True)
    for part, labels in zip(x.split(sizes), y.split(sizes), strict=True):
        moments.update(
            part,
            labels.to(
                data.draw(st.sampled_from([torch.int64, torch.int32, torch.uint8]), "labels")
            ),
        )

    counts, means, spreads, scatter = (
        brute.class_moments(brute.as_numpy(x), y.numpy(), classes)
        if sum(sizes)
        else [np.zeros(1)] * 4
    )
    np.testing.assert_array_equal(moments.counts.numpy(), np.broadcast_to(counts, classes))
    scale = abs(offset) + 4
    np.testing.assert_allclose(
        moments.means.numpy(), np.broadcast_to(means, (classes, dim)), rtol=0, atol=1e-14 * scale
    )
    # deviations of a few units lose what the offset takes: eps * offset, linearly
    np.testing.assert_allclose(
        moments.variance_norms.numpy(),
        np.broadcast_to(spreads, classes),
        rtol=1e-11,
        atol=1e-14 * scale,
    )
    total = max(1, int(moments.counts.sum()))
    np.testing.assert_allclose(
        moments.scatter.numpy() / total,
        np.broadcast_to(scatter, (dim, dim)),
        rtol=1e-11,
        atol=1e-13 * scale,
    )


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("split_seed", range(4))
def test_merging_in_any_order_and_split_equals_the_joint_collection(
    split_seed: int, offset: float
) -> None:
    x, y = samples(3000, 8, 40, seed=5)
    x = x + offset
    joint = collected(x, y, 40)
    generator = torch.Generator().manual_seed(split_seed)
    order = torch.randperm(len(x), generator=generator)
    cuts = torch.randint(0, len(x), (12,), generator=generator).sort().values.tolist()
    parts = [collected(x[rows], y[rows], 40) for rows in torch.tensor_split(order, cuts)]
    while len(parts) > 1:  # a random tree, in which empty parts occur
        left = parts.pop(int(torch.randint(len(parts), (), generator=generator)))
        parts[int(torch.randint(len(parts), (), generator=generator))].merge(left)
    assert_same(parts[0], joint, rtol=1e-10, atol=1e-10 if offset else 1e-12)


def test_merging_leaves_the_other_as_it_is_and_works_with_itself() -> None:
    x, y = samples(50, 3, 4, seed=1)
    moments, other = collected(x, y, 4), collected(x, y, 4)
    moments.merge(other)
    assert_same(other, collected(x, y, 4), rtol=0)
    assert_same(moments, collected(torch.cat([x, x]), torch.cat([y, y]), 4), atol=1e-14)
    other.merge(other)
    assert_same(other, moments, atol=1e-14)


def test_a_batch_larger_than_a_chunk_equals_small_batches() -> None:
    x, y = samples(2 * CHUNK + 100, 2, 5, seed=2)
    small = ClassMoments(5, 2, scatter=True)
    for part, labels in zip(x.split(999), y.split(999), strict=True):
        small.update(part, labels)
    assert_same(collected(x, y, 5), small, atol=1e-14)


def test_skewed_counts_lose_no_digits() -> None:
    """Counts from 2 to 1e6 behind an offset of 1e3, float32 features.

    Reference: two passes in float64.
    """
    generator = torch.Generator().manual_seed(3)
    y = torch.cat([torch.zeros(1_000_000, dtype=torch.int64), torch.ones(2, dtype=torch.int64)])
    x = torch.randn(len(y), 3, generator=generator) + 1e3
    moments = ClassMoments(2, 3)
    for part, labels in zip(x.split(2048), y.split(2048), strict=True):
        moments.update(part, labels)
    _, means, spreads, _ = brute.class_moments(x.numpy(), y.numpy(), 2)
    np.testing.assert_allclose(moments.means.numpy(), means, rtol=1e-14)
    np.testing.assert_allclose(moments.variance_norms.numpy(), spreads, rtol=1e-11)


def test_a_constant_class_has_no_spread_at_all() -> None:
    """Equal features in any number of batches give that very mean.

    0.1 summed three times and divided is not 0.1.
    """
    moments = ClassMoments(1, 2)
    for size in (1, 4, 2):
        moments.update(torch.full((size, 2), 0.5), torch.zeros(size, dtype=torch.int64))
    assert moments.variance_norms.item() == 0
    assert moments.means.tolist() == [[0.5, 0.5]]


def test_state_survives_saving_bit_for_bit(tmp_path: object) -> None:
    x, y = samples(200, 4, 7, seed=4)
    x[3, 1] = torch.inf
    moments = collected(x, y, 7)
    path = f"{tmp_path}/moments.pt"
    torch.save(moments.state_dict(), path)
    again = ClassMoments(7, 4, scatter=True)
    again.load_state_dict(torch.load(path, weights_only=True))
    assert_same(again, moments, rtol=0)
    assert again.nonfinite == 1
    more, labels = samples(20, 4, 7, seed=5)
    moments.update(more, labels)
    again.update(more, labels)
    assert_same(again, moments, rtol=0)


def test_states_that_do_not_fit_are_refused_and_change_nothing() -> None:
    moments = collected(*samples(50, 4, 7, seed=4), 7)
    before = {
        name: value.clone()
        for name, value in moments.state_dict().items()
        if isinstance(value, Tensor)
    }
    state = moments.state_dict()
    for change, message in (
        ({"dim": 5}, "7 classes x 5"),
        ({"scatter": None}, "lacks 'scatter'"),
        ({"means": moments.means.float()}, "'means' of the state is torch.float32"),
        ({"extra": 1}, "must hold"),
    ):
        with pytest.raises(MomentsError, match=message):
            moments.load_state_dict(state | change)
    with pytest.raises(MomentsError, match="holds 'scatter'"):
        ClassMoments(7, 4).load_state_dict(state)
    for name, value in before.items():
        assert torch.equal(value, moments.state_dict()[name])


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (torch.ones(3, 5), torch.zeros(3, dtype=torch.int64), r"shape \(batch, 4\), got \(3, 5\)"),
        (torch.ones(3), torch.zeros(3, dtype=torch.int64), r"shape \(batch, 4\), got \(3,\)"),
        (
            torch.ones(3, 4, dtype=torch.int64),
            torch.zeros(3, dtype=torch.int64),
            "floating point, got torch.int64",
        ),
        (
            torch.ones(3, 4),
            torch.zeros(2, dtype=torch.int64),
            r"shape \(3,\), one for each row of features, got \(2,\)",
        ),
        (torch.ones(3, 4), torch.zeros(3), "integers, got torch.float32"),
        (
            torch.ones(3, 4),
            torch.tensor([0, -100, 1]),
            r"label -100 is outside \[0, 7\); drop the positions",
        ),
        (torch.ones(3, 4), torch.tensor([0, 7, 1]), r"label 7 is outside \[0, 7\)"),
    ],
)
def test_bad_batches_are_refused_and_change_nothing(
    features: Tensor, labels: Tensor, message: str
) -> None:
    moments = ClassMoments(7, 4)
    with pytest.raises(MomentsError, match=message):
        moments.update(features, labels)
    assert moments.counts.sum() == 0


def test_bad_shapes_and_partners_are_refused() -> None:
    with pytest.raises(MomentsError, match="classes=0"):
        ClassMoments(0, 3)
    moments = ClassMoments(7, 4)
    with pytest.raises(
        MomentsError, match="7 classes x 5 cannot be merged into moments of 7 classes x 4"
    ):
        moments.merge(ClassMoments(7, 5))
    with pytest.raises(MomentsError, match="scatter"):
        moments.merge(ClassMoments(7, 4, scatter=True))


def test_non_finite_samples_are_counted_and_kept_out() -> None:
    x, y = samples(40, 4, 3, seed=6)
    clean = collected(x[2:], y[2:], 3)
    x[0, 1], x[1, 3] = torch.nan, -torch.inf
    moments = collected(x, y, 3)
    assert_same(moments, clean, rtol=0)
    assert moments.nonfinite == 2
    moments.merge(moments)
    assert moments.nonfinite == 4


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_one_entry_that_is_not_finite_is_seen_wherever_it_lies(dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    for shape in ((0, 3), (1, 1), (5, 67), (129,)):
        values = torch.full(shape, largest, dtype=dtype)
        values.view(-1)[::2] *= -1
        assert all_finite(values)
        for place, wrong in itertools.product(
            range(values.numel()), (torch.nan, torch.inf, -torch.inf)
        ):
            broken = values.clone()
            broken.view(-1)[place] = wrong
            assert not all_finite(broken)


def test_finite_features_whose_sum_overflows_are_not_taken_for_infinite() -> None:
    moments = ClassMoments(2, 1)
    moments.update(torch.tensor([[1.5e308], [1.5e308]], dtype=torch.float64), torch.tensor([0, 1]))
    assert moments.nonfinite == 0
    assert moments.counts.tolist() == [1, 1]

"""Captions say which figures of Wu & Papyan 2024 have such panels, by their captions there."""

from __future__ import annotations

from analysis.report import sections_association, sections_axes
from study.columns import METRICS


def test_trends_along_width_and_depth_have_their_figures() -> None:
    of_width, of_depth = (
        sections_axes.as_published(axis, ("val_loss", "nc1_cdnv", "nc4_agreement", "nc1_ratio"))
        for axis in ("width", "depth")
    )
    assert of_width == " Wu & Papyan 2024 have such panels in figures 6, 29."
    assert of_depth == " Wu & Papyan 2024 have such panels in figures 7, 30."
    assert sections_axes.as_published("epochs", ("nc1_cdnv",)) == ""
    assert sections_axes.as_published("width", ("nc1_ratio",)) == ""


def test_the_response_against_a_metric_has_its_figures() -> None:
    metrics = ("nc1_cdnv", "gnc2_log_distance_std", "nc3_cosine_mean", "nc1_ratio")
    said = sections_association.as_published(metrics)
    assert said == " Wu & Papyan 2024 have such panels in figures 1, 2, 3, 22, 27."
    assert sections_association.as_published(("nc1_ratio",)) == ""


def test_every_metric_of_theirs_is_one_of_ours() -> None:
    assert set(sections_axes.PUBLISHED) <= set(METRICS)
    assert set(sections_association.PUBLISHED) <= set(METRICS)
    places = [number + at for number in sections_axes.PUBLISHED.values() for at in (0, 1)]
    assert sorted(places) == [*range(6, 20), *range(23, 27), 29, 30]

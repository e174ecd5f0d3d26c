"""The sections of the report, its tables, and its styles of figures; light."""

from __future__ import annotations

from typing import Literal, get_args

Style = Literal["page", "paper"]
STYLES: tuple[Style, ...] = get_args(Style)
"""For whom figure files are drawn: as the page has them, or for columns of a paper."""

SECTIONS = {
    "tuning": "sections_tuning:tuning",
    "interventions": "sections_interventions:interventions_section",
    "matched": "sections_matched:matched",
    "association": "sections_association:association",
    "within": "sections_association:within",
    "design": "sections_association:design",
    "progress": "sections_association:progress",
    "fixed": "sections_association:fixed",
    "power": "sections_power:power_of_design",
    "axes": "sections_axes:axes",
    "forecast": "sections_forecast:forecast",
    "checkpoints": "sections_training:checkpoints",
    "training": "sections_training:training",
    "epochs_at": "sections_time:epochs_at",
    "overfitting": "sections_training:overfit",
    "layers": "sections_training:layer",
    "precision": "sections_precision:precision",
    "methods": "sections_methods:methods_section",
    "robustness": "sections_robustness:robustness_section",
    "transfer": "sections_transfer:transfer_section",
    "ood": "sections_ood:ood_section",
    "groups": "sections_groups:groups_section",
    "regression": "sections_targets:targets_section",
    "data": "sections_data:data",
    "classes": "sections_data:classes",
}
"""Name -> import path in `analysis.report` of the function that builds the section."""

TABLES = {
    "confirmation": "tuning",
    "importances": "tuning",
    "trials": "tuning",
    "dose_response": "interventions",
    "dose_levels": "interventions",
    "instruments": "interventions",
    "within_cells": "within",
    "placebos": "design",
    "given_design": "design",
    "given_train_loss": "progress",
    "effects": "axes",
    "lead": "checkpoints",
    "epochs_at_trainings": "epochs_at",
    "changes": "precision",
    "damage": "precision",
    "methods_metrics": "methods",
    "damage_by_layer": "methods",
    "damage_sources": "methods",
    "group_changes": "groups",
    "group_effects": "groups",
    "group_doses": "groups",
    "regression_course": "regression",
    "regression_changes": "regression",
    "floor": "data",
    "class_lists": "classes",
    "class_changes": "classes",
    **{
        name: name
        for name in SECTIONS
        if name not in ("tuning", "interventions", "progress", "axes", "power")
    },
    "interventions": "interventions",
    "power": "power",
}
"""Table -> the section that has it."""

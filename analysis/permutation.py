"""The face of the permutation engine: `permutation_test` and what it returns."""

from analysis.statistics.permutation import PermutationResult, permutation_test

__all__ = ["PermutationResult", "permutation_test"]

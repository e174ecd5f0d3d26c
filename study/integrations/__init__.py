"""Metrics of collapse in other people's training loops."""

"""One training.

Steps, losses, optimizer, states to resume from, checkpoints, fine-tuning at a precision.
"""

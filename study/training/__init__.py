"""One training: steps, losses, optimizer, states to resume from, checkpoints, fine-tuning at a precision."""

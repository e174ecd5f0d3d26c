"""A table becomes one frame for each question."""

"""A frame becomes a figure."""

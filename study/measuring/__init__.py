"""One checkpoint becomes rows."""

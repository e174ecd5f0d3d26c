"""A launch of a study: its plan, its progress, its end."""

"""A search with Optuna: its file, its trials, its confirmation."""

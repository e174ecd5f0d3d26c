"""Train, measure and store: neural collapse over a grid of configurations."""

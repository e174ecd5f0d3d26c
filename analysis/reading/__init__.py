"""Anything that holds rows becomes one table with roles, read once."""

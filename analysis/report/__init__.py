"""Findings and figures become one page; touches the disk only to write it."""

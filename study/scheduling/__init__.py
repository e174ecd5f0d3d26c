"""Which training runs when and where, and what becomes of one that fails."""

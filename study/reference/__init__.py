"""Every setting with its values and meaning, for readers and for editors."""

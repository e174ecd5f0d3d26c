"""What a setting is, and the YAML that it is read from.

Its types, its flat name, its faults; no torch.
"""

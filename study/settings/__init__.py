"""What a setting is: its types, its flat name, its faults, and the YAML that it is read from. No torch."""

"""The sessions of frameworks, kept as timelines while they go on."""

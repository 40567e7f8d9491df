"""Masks of a live stream: reader threads, the model's thread, and where the masks go."""

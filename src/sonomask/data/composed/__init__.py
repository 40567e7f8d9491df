"""Scenes composed of real pictures and recordings."""

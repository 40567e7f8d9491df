"""Outputs for live masks, one file for each kind; `base` is shared by all."""

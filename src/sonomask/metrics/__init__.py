"""Metrics of audio-visual segmentation, each under a named protocol."""

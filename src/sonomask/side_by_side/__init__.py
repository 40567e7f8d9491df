"""Several models on one video, side by side."""

"""sonomask watches a video, listens to it, and marks the pixels of what makes the sound."""

__version__ = "0.1.0"

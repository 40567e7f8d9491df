"""From a video and a model to masks."""

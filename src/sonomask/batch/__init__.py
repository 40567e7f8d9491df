"""A corpus of videos in, tables of masks out: on one machine or on a Ray cluster, and again where it was stopped."""

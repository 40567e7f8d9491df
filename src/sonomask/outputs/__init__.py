"""What becomes of masks: videos, pictures, tables and annotations, one file here for each family."""

"""Output formats: videos, pictures, tables and annotations, one file for each family."""

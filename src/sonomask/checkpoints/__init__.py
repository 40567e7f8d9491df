"""Model folders and weight files: saving, loading, converting."""

"""Video in and out, through PyAV."""

"""Data sets: AVSBench on disk, and the synthetic world."""

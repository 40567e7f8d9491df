"""Data sets: AVSBench as it is on disk, and the synthetic world."""

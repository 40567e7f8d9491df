"""The paper's comparison: train or load any set of systems, score them alike, write tables and pictures."""

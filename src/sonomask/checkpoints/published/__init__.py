"""Names in published checkpoints, one file for each system: what a file is, and what its tensors are called here."""

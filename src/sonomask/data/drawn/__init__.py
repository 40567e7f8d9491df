"""The synthetic world: scenes drawn and played by code."""

"""Training and evaluation on Lightning; needs the extra `train`."""

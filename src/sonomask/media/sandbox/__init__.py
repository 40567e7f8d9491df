"""Decoding in a child process without rights."""

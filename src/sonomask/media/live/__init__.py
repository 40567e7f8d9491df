"""Live sources and targets: cameras, streams, pipes."""

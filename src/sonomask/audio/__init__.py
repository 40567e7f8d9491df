"""The audio front end: log-mel patches and the encoders that read them."""

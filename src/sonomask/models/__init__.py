"""Models: parts, nets made of parts, and the catalogue that lists them."""

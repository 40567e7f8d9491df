"""Where live masks go, one file for each kind of place; `base` is what they share."""

"""Draw overlays, cut-outs, timelines, sheets and plots."""

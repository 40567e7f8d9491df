"""What a person looks at: overlays, cut-outs, timelines, sheets and plots."""

"""Is this install giving the model's own numbers? Loads a reward model, scores bundled drawn clips, and compares."""

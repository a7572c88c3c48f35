"""What a reward model reacts to and what it should ignore, measured on clips that nobody labelled."""

"""AnimeReward's character consistency: detect, track, cut out, recognise. Importing this imports nothing heavy."""

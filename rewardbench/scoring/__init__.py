"""Clips to scores: plan, durable store, worker processes, local engine. Knows nothing of labels."""

"""AnimeReward's character consistency: detect, track, cut out, recognise. Importing this imports nothing heavy."""

from rewardbench_animereward.character.scorer import CharacterScorer, character_inputs

__all__ = ["CharacterScorer", "character_inputs"]

"""The reward plugin ``visionreward``. Importing this module imports nothing heavy."""

"""The reward plugin ``videoreward``. Importing this module imports nothing heavy."""

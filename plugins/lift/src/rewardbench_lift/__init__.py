"""The reward plugin ``lift``. Importing this module imports nothing heavy."""

"""The reward plugin ``judge``. Importing this module imports nothing heavy."""

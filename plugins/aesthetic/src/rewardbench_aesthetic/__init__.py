"""The reward plugin ``aesthetic``. Importing this module imports nothing heavy."""

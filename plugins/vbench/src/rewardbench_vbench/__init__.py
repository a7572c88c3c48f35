"""The reward plugin ``vbench``. Importing this module imports nothing heavy."""

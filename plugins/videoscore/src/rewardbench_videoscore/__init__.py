"""The reward plugin ``videoscore``. Importing this module imports nothing heavy."""

"""The toy generator: a small image-to-video transformer on the drawn anime world, shipped with the package."""

"""The drawn anime world, its controlled degradations, and the benchmark made of them."""

"""Side-by-side measurements; none of them is a test."""

"""Statistics over subjects: means, comparison and bootstrap."""

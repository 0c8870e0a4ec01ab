"""Cross-validated encoding scores, feature sets and group statistics."""

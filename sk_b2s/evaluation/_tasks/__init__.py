"""Tasks of the field: rows, candidates, scores, splits and controls."""

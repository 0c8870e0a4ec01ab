"""Control analyses: what else a score could come from."""

"""Results tables and files: lines, plan, provenance and summary."""

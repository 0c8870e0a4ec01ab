"""LibriBrain100: tables and recordings, hold-out windows, download."""

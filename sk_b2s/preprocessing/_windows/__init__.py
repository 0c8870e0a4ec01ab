"""Windows of continuous signals: the array, its signals and checks."""

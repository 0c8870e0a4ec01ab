"""Sources of streamed samples: recordings, iterators, LSL."""

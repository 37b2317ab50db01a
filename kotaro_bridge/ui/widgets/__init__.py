"""Building blocks of windows."""

"""What windows show, computed without Qt."""

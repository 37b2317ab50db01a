"""What the main window shows."""

"""Windows and tray. The only layer that imports Qt."""

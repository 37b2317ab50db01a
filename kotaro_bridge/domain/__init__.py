"""Pure rules: no I/O, clock, threads or Qt. Imports nothing of ours but itself."""

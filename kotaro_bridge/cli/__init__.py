"""The command line: everything the windows do that makes sense in a terminal. `main.py` has the commands of a run."""

"""The engines: the command that starts one, what it prints, and what that says of where the model is."""

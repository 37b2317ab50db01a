"""Models: what their headers say, the catalogue, and where their files are."""

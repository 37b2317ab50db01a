"""What fits on which card, with which engine, and what earlier starts teach."""

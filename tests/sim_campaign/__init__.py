"""The simulation campaign's own tests."""

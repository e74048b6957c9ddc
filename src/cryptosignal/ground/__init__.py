"""The ground floor: clocks, event loops, seeds, units and the error tree. Imports nothing of the project."""

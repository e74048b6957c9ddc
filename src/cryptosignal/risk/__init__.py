"""What may be risked: exposure as a value, sizing, limits, breakers."""

"""Intents, order lives, brackets, positions, reconciliation, in Decimal. Sends nothing itself."""

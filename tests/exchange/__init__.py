"""What every adapter of an exchange owes, asked of two with no word in common."""

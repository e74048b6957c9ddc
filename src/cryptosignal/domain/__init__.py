"""The words of the house: frozen values that every floor above may speak. No behaviour with a clock."""

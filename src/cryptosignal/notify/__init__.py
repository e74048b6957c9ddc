"""Messages to people, in a process of its own."""

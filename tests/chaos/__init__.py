"""Real processes in a storm: killed, starved and lied to, judged by the books of the venue."""

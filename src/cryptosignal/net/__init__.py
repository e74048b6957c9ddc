"""Sockets: drives sessions and performs actions against the venue."""

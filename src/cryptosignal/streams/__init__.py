"""Connections as values: the plan of streams, the session state machine, backoff, heartbeat, gaps. No sockets."""

"""Small bindings of the ports: configuration, supervision, live, replay, simulate."""

"""The simulated venue: one pure core speaking Binance's protocol, and its loopback server."""

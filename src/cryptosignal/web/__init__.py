"""The page: a process of its own on loopback that shows what the engine says and changes nothing."""

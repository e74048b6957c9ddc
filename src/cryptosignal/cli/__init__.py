"""The command line: reads snapshots, sends commands."""

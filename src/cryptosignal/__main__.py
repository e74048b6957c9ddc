"""`python -m cryptosignal` is the command line."""

from cryptosignal.cli.main import main

main()

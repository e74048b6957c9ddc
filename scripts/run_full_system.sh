#!/bin/sh
# The old entry point: flags such as --interval 300 --min-score 70 go to `cryptosignal run`.
here=$(dirname "$0")/..
exec "${PYTHON:-$here/.venv/bin/python}" -m cryptosignal run "$@"

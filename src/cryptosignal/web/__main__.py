"""`python -m cryptosignal.web --socket PATH`: the page as a process of its own."""

from __future__ import annotations

import importlib.util
import sys

if importlib.util.find_spec("nicegui") is None:
    sys.stderr.write("the page needs its extra: pip install 'cryptosignal[web]'\n")
    raise SystemExit(2)

from cryptosignal.web.main import main

raise SystemExit(main())

"""`cryptosignal config`: show the configuration in force, or check a file."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter


def config(
    *,
    config: Annotated[str, Parameter(name=["--config", "-c"])] = "",
    json: bool = False,
) -> int:
    """Print the configuration in force: defaults, overlaid by the file if one is given.

    Example: cryptosignal config --config my.toml

    Parameters
    ----------
    config
        A TOML file; a wrong key or value is one line with what is allowed.
    json
        Print JSON instead of TOML.
    """
    from cryptosignal.modes.config import load_config, render

    print(render(load_config(config), as_json=json))
    return 0

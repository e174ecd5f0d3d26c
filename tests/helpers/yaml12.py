"""YAML as editors read it."""

from __future__ import annotations

import re

import yaml


class Yaml12(yaml.SafeLoader):
    """Numbers as editors read them: `1e-3` is one."""


Yaml12.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)

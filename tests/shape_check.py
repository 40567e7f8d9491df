"""A plugin of pytest, `-p shape_check`: checks annotations of shapes and types at every call in the rooms of networks."""

import sys
import types

import beartype
from jaxtyping import install_import_hook

ROOMS = ("sonomask.audio", "sonomask.losses", "sonomask.metrics", "sonomask.models")

checker = types.ModuleType("shape_checker")
checker.check = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))  # a whole number is a float, too
sys.modules["shape_checker"] = checker
install_import_hook(ROOMS, "shape_checker.check")  # before any of them is imported

"""Modules that must have bytecode in the image."""

# Prints the installed modules that a command imports without bytecode.
UNCOMPILED = """
import os, sys
from metrics_server.commands.main import build_parser
build_parser()
from importlib.util import cache_from_source
files = [vars(module).get("__file__") or "" for module in list(sys.modules.values())]
sources = [file for file in files if "site-packages" in file and file.endswith(".py")]
assert len(sources) > 100
print([file for file in sources if not os.path.exists(cache_from_source(file))])
"""

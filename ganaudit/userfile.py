"""A Python file that the user named: imported as a module of its own. It runs with their rights."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from ganaudit.errors import ConfigError, PluginError, one_line
from ganaudit.files import sha256_of


def import_file(path: Path) -> ModuleType:
    """The file as a module, with its folder importable as for a script; once for each content.

    Raises:
      ConfigError: no such file, or not a Python file.
      PluginError: it raised.
    """
    if not path.is_file():
        raise ConfigError(f"no such file: {path}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = f"ganaudit_user_{path.stem}_{sha256_of(path)[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be imported; is it a .py file?")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception | SystemExit):
            raise
        raise PluginError(f"{path} raised {one_line(error)}") from error
    return module

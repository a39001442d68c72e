"""From ``MODEL=path/to/file.py:Class`` or ``package.module:Class`` to an object of that class.

Runs in the engine process, at each load: what changed in the file is read anew.
"""

import importlib
import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from app import errors
from app.models.registry import UnknownModel, WrongSetting

_HOUSE = Path(__file__).parents[1]
_FILES_MODULE = "own_model"  # not the file's name, which may be another module's
_WORDS_LENGTH = 160


def build(setting: str) -> tuple[Any, Path | None]:
    """Return an object of the class that MODEL names, and the file that the class is written in.

    Raises:
        UnknownModel: there is no such file, module or class.
        WrongSetting: its code raises before there is an object.
    """
    place, _, name = setting.rpartition(":")
    module = _module(setting, place)
    found = getattr(module, name, None)
    if not inspect.isclass(found):
        there = [key for key, value in vars(module).items()
                 if inspect.isclass(value) and value.__module__ == module.__name__]  # fmt: skip
        hint = f"its classes are {', '.join(there[:5])}" if there else "it has no class"
        raise UnknownModel(f"MODEL={setting}: {place} has no class {name}; {hint}")
    try:
        made = found()
    except (Exception, SystemExit) as error:
        raise WrongSetting(f"MODEL={setting}: {name}() raised {why(error)}") from error
    source = inspect.getsourcefile(sys.modules.get(found.__module__, module))
    return made, Path(source) if source else None


def _module(setting: str, place: str) -> ModuleType:
    try:
        return _file(place) if place.endswith(".py") else importlib.import_module(place)
    except FileNotFoundError as error:
        if error.filename != place:
            raise WrongSetting(f"MODEL={setting}: its import raised {why(error)}") from error
        words = f"MODEL={setting}: there is no file {Path(place).absolute()}"
        raise UnknownModel(words) from None
    except ModuleNotFoundError as error:
        raise UnknownModel(f"MODEL={setting}: {error}") from None
    except (Exception, SystemExit) as error:
        raise WrongSetting(f"MODEL={setting}: its import raised {why(error)}") from error


def _file(place: str) -> ModuleType:
    path = Path(place).absolute()
    if not path.is_file():
        raise FileNotFoundError(0, "", place)
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)  # what lies beside it; at the end, so that it hides nothing of ours
    spec = importlib.util.spec_from_file_location(_FILES_MODULE, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_FILES_MODULE] = module  # dataclasses and pickle look it up there
    spec.loader.exec_module(module)
    return module


def why(error: BaseException) -> str:
    """Return what was raised and where, in one line: ``ValueError: no (model.py, line 7)``.

    For the operator: to a client, the text of an exception is a leak.
    """
    if isinstance(error, errors.ModelError):
        return f"the model raised {why(error.__cause__)}" if error.__cause__ else error.message
    lines = str(error).strip().splitlines() or [""]
    text = f"{type(error).__name__}: {lines[0][:_WORDS_LENGTH]}".rstrip(": ")
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.endswith(".py")
        and "/site-packages/" not in frame.filename
        and not Path(frame.filename).is_relative_to(_HOUSE)
    ]
    if isinstance(error, SyntaxError) or not own:  # the first says where itself
        return text
    return f"{text} ({Path(own[-1].filename).name}, line {own[-1].lineno})"

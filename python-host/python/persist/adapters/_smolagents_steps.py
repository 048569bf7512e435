"""Turns the steps of smolagents, and what is in them, into data and back. Images are kept
separately, because many steps may share one.
"""

from __future__ import annotations

import dataclasses
import io
import types
from collections.abc import Iterable
from typing import Any

from smolagents import agent_types, memory, models, monitoring, utils

from persist._words import a
from persist.errors import PersistIntegrityError, PersistTypeError

STEPS = (memory.TaskStep, memory.ActionStep, memory.PlanningStep, memory.SystemPromptStep, memory.FinalAnswerStep)

_CLASSES: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        *STEPS,
        memory.ToolCall,
        monitoring.Timing,
        monitoring.TokenUsage,
        models.ChatMessage,
        models.ChatMessageToolCall,
        models.ChatMessageToolCallFunction,
    )
}

_FIELDS = {cls: [field.name for field in dataclasses.fields(cls)] for cls in _CLASSES.values()}

_ATOMS = frozenset((str, int, float, bool, bytes, type(None)))

_ERRORS: dict[str, Any] = {
    name: cls
    for name, cls in vars(utils).items()
    if isinstance(cls, type) and issubclass(cls, utils.AgentError) and cls.__module__ == utils.__name__
}

_CLASS = "class"
"""The field with the class, in the data of an instance."""

_PROVIDERS = ("raw", "_deserialized")
"""The fields with raw responses of a provider's client, which are not data."""

_CODE = (types.FunctionType, types.ModuleType, type)
"""The types that the code of a step may return that are code and not data."""


class Pictures:
    """The images of a state, each of which many steps may share."""

    def __init__(self) -> None:
        self.files: list[bytes] = []
        self._found: dict[int, tuple[int, Any]] = {}

    def number(self, picture: Any) -> int:
        """Returns the number of an image."""
        if id(picture) not in self._found:
            self.files.append(_file(picture))
            self._found[id(picture)] = (len(self._found), picture)
        return self._found[id(picture)][0]


def _file(picture: Any) -> bytes:
    file = io.BytesIO()
    mode = getattr(picture, "mode", "?")
    try:
        picture.save(file, "PNG")
        comes_back = opened(file.getvalue()).mode == mode
        cause = None
    except (OSError, ValueError) as error:
        comes_back, cause = False, error
    if not comes_back:
        raise PersistTypeError(
            f"an image of mode {mode} can't be saved as PNG",
            "invalid-argument",
            hint='convert it first: image.convert("RGB")',
        ) from cause
    return file.getvalue()


def opened(file: bytes) -> Any:
    """Returns the image of a file. It is decoded only when it is used, so the file is checked
    here.
    """
    import PIL.Image

    try:
        PIL.Image.open(io.BytesIO(file), formats=("PNG",)).verify()
        return PIL.Image.open(io.BytesIO(file), formats=("PNG",))
    except Exception as error:
        # A crafted file may raise anything, even SyntaxError or a warning about its size.
        raise PersistIntegrityError(
            "Format error: an image in the steps is not a valid PNG",
            "invalid-format",
            hint="restore with plain=True to see what it holds",
        ) from error


def data_of(value: Any, pictures: Pictures) -> Any:
    """Returns a step, or a value in one, as data, with the short name of its class."""
    cls = type(value)
    if cls in _ATOMS:
        return value
    if isinstance(value, models.MessageRole):
        return value.value
    if cls is agent_types.AgentText:
        return {_CLASS: "text", "value": data_of(value.to_raw(), pictures)}
    if _ERRORS.get(cls.__name__) is cls:
        return {_CLASS: cls.__name__, "message": value.message, **_more(value, ("message",), pictures)}
    if _CLASSES.get(cls.__name__) is cls:
        names = _FIELDS[cls]
        fields = {name: data_of(getattr(value, name), pictures) for name in names if name not in _PROVIDERS}
        if isinstance(fields.get("action_output"), _CODE):
            fields["action_output"] = None
        return {_CLASS: cls.__name__, **fields, **_more(value, (*names, *_PROVIDERS), pictures)}
    if isinstance(value, list):
        return [data_of(item, pictures) for item in value]
    if cls is tuple:
        return tuple(data_of(item, pictures) for item in value)
    if cls is dict:
        if _CLASS in value:
            return {_CLASS: "dict", "items": [[key, data_of(item, pictures)] for key, item in value.items()]}
        return {key: data_of(item, pictures) for key, item in value.items()}
    if isinstance(value, agent_types.AgentImage):
        return {_CLASS: "answer", "number": pictures.number(value.to_raw())}
    if callable(getattr(value, "save", None)) and hasattr(value, "tobytes"):
        return {_CLASS: "image", "number": pictures.number(value)}
    return value


def _more(value: Any, names: Iterable[str], pictures: Pictures) -> dict[str, Any]:
    """Returns the attributes that the program added to a step, or to a value in one."""
    more = {name: data_of(item, pictures) for name, item in vars(value).items() if name not in names}
    return {"more": more} if more else {}


def made_of(data: Any, pictures: list[Any]) -> Any:
    """Returns what :func:`data_of` turned into data, if its class is known."""
    if isinstance(data, (list, tuple)):
        items = [made_of(item, pictures) for item in data]
        return items if type(data) is list else tuple(items) if type(data) is tuple else data
    if not isinstance(data, dict):
        return data
    if _CLASS not in data:
        return {key: made_of(item, pictures) for key, item in data.items()}
    name, fields = data[_CLASS], {key: made_of(item, pictures) for key, item in data.items() if key != _CLASS}
    if name == "dict":
        return dict(fields["items"])
    if name == "text":
        return agent_types.AgentText(fields["value"])
    if name in ("image", "answer"):
        picture = opened(fields["png"]) if "png" in fields else pictures[fields["number"]]
        return picture if name == "image" else agent_types.AgentImage(picture)
    more = fields.pop("more", {})
    if name in _ERRORS:
        error = _ERRORS[name].__new__(_ERRORS[name])
        Exception.__init__(error, fields["message"])
        error.message = fields["message"]
        return _with_more(error, more)
    cls = _CLASSES.get(name)
    if cls is None:
        raise PersistIntegrityError(f"Format error: a step holds {name!r}, which is not known", "invalid-format")
    known = {field.name: field for field in dataclasses.fields(cls)}
    unknown = [key for key in fields if key not in known]
    if unknown:
        raise PersistTypeError(
            f"{name} has no field {', '.join(unknown)} in this version of smolagents",
            "invalid-argument",
            hint="restore it with plain=True, or with the version that saved it",
        )
    if "role" in fields:
        fields["role"] = models.MessageRole(fields["role"])
    made = cls.__new__(cls)
    for key, field in known.items():
        if key in fields:
            value = fields[key]
        elif field.default is not dataclasses.MISSING:
            value = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        else:
            raise PersistIntegrityError(f"Format error: {a(name)} lacks {key}", "invalid-format")
        setattr(made, key, value)
    return _with_more(made, more)


def _with_more(made: Any, more: Any) -> Any:
    """Returns a step, or a value in one, with the attributes that the program added."""
    for name in more:
        if not isinstance(name, str) or hasattr(made, name):
            raise PersistIntegrityError(f"Format error: the attribute {name} is not valid", "invalid-format")
    vars(made).update(more)
    return made


def with_files(data: Any, files: list[bytes]) -> Any:
    """Returns steps as data that includes the files of images."""
    if type(data) in (list, tuple):
        return type(data)(with_files(item, files) for item in data)
    if type(data) is not dict:
        return data
    if data.get(_CLASS) in ("image", "answer") and "number" in data:
        return {_CLASS: data[_CLASS], "png": files[data["number"]]}
    return {key: with_files(item, files) for key, item in data.items()}

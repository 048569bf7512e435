"""LangChain: messages, prompts and everything else that is ``Serializable``, anywhere in a
state.

Each object is written in place, with its class and its fields. The values in it are written
like any other value, so that data is never mistaken for a LangChain object. Data objects,
such as messages and documents, are restored as they were, without running validators.
Objects that run or have secrets are written as LangChain writes them, as arguments, and
created from these arguments.
"""

from __future__ import annotations

import inspect
import sys
import weakref
from collections.abc import Mapping
from typing import Any

from langchain_core import messages
from langchain_core.agents import AgentAction, AgentFinish
from langchain_core.documents.base import BaseMedia
from langchain_core.load.load import Reviver, default_init_validator
from langchain_core.load.mapping import SERIALIZABLE_MAPPING
from langchain_core.load.serializable import Serializable
from langchain_core.outputs import Generation
from langchain_core.runnables import Runnable

from persist import _agents, _models
from persist._adapter import PartAdapter
from persist._classes import name_of, slots
from persist._copies import Copies, copied
from persist._words import a
from persist.adapters._compare import is_data, same
from persist.errors import PersistConfigurationError, PersistIntegrityError, PersistTypeError


def _message_classes() -> dict[tuple[str, ...], Any]:
    found: list[Any] = [getattr(messages, name) for name in messages.__all__ if not name.startswith("Base")]
    kinds: list[Any] = [cls for cls in found if isinstance(cls, type) and issubclass(cls, messages.BaseMessage)]
    return {tuple(cls.lc_id()): cls for cls in kinds}


_MESSAGES = _message_classes()

_OWN = frozenset(_MESSAGES.values())

_MINIMUM = (1, 2, 5)
"""In older versions, a crafted state can inject code."""


class LangChainAdapter(PartAdapter):
    """Saves and restores LangChain objects."""

    name = "langchain"
    package = "langchain-core"
    module = "langchain_core"
    stands_alone = True

    def __init__(self) -> None:
        self._last: tuple[Any, tuple[Any, dict[tuple[str, ...], Any]]] = (None, ("messages", {}))
        found = self.version() or "0"
        if tuple(int(part) for part in found.split(".")[:3] if part.isdigit()) < _MINIMUM:
            raise PersistConfigurationError(
                f"langchain-core {found} is not safe: a crafted snapshot could run code",
                "invalid-argument",
                hint="pip install 'langchain-core>=1.2.5'",
            )

    def accepts(self, agent: Any) -> bool:
        """Returns whether a value is a LangChain object, or a list that begins with one."""
        if type(agent) in (list, tuple) and agent:
            agent = agent[0]
        return isinstance(agent, Serializable)

    def copied(self, agent: Any) -> Any:
        """Returns copies of the objects."""
        return Copies(agent) if type(agent) is list else copied(agent)

    def save(self, agent: Any) -> Any:
        """Returns the objects themselves."""
        return _agents.items(self, agent.parts()) if isinstance(agent, Copies) else agent

    def form(self, cls: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Returns how to write most data objects, such as messages and documents."""
        is_one = (
            type(self).save_part is LangChainAdapter.save_part
            and issubclass(cls, _DATA)
            and not issubclass(cls, Runnable)
            and cls.__getattribute__ is object.__getattribute__
            and inspect.getattr_static(cls, "lc_secrets") is Serializable.lc_secrets
            and cls.is_lc_serializable()
            and not (cls.__private_attributes__ or slots(cls))
        )
        if not is_one:
            return None
        if cls not in _OWN:
            _refuse_namesake(cls)
        defaults = _simple_defaults(cls)
        unset = {name: defaults.get(name, ...) for name in cls.model_fields}
        return {"class": list(cls.lc_id()), "filled": True}, unset

    def save_part(self, value: Any) -> dict[str, Any]:
        """Returns the class, the fields or arguments, and the names of secrets."""
        cls = type(value)
        if not value.is_lc_serializable():
            raise PersistTypeError(
                f"LangChain does not allow a value of type {cls.__module__}.{cls.__qualname__} to be saved",
                "invalid-argument",
                hint="save its arguments and create it again from them",
            )
        if cls not in _OWN:
            _refuse_namesake(cls)
        if _is_data(cls) and not value.lc_secrets:
            fields = {"class": list(cls.lc_id()), "filled": True, **_without_defaults(value, cls)}
            if not issubclass(cls, _DATA):
                _refuse_secrets(fields["value"], cls)
            return fields
        made = value.to_json()
        arguments, secrets = {**(value.__pydantic_extra__ or {}), **made["kwargs"]}, {}
        # The arguments have placeholders for secrets, so the values come from the object.
        _refuse_changed(value, {name: value.__dict__.get(name, item) for name, item in arguments.items()})
        for path, secret in value.lc_secrets.items():
            *parents, last = path.split(".")
            holder: Any = arguments
            for name in parents:
                copied = holder[name] = dict(holder.get(name) or {})
                holder = copied
            if holder.pop(last, None) is not None:
                secrets[path] = secret
        _refuse_secrets(arguments, cls)
        fields = {"class": list(made["id"]), "value": {name: _plain(item) for name, item in arguments.items()}}
        return {**fields, "secrets": secrets} if secrets else fields

    def _allowed(self, options: Mapping[str, Any]) -> tuple[Any, dict[tuple[str, ...], Any]]:
        """Returns what may be restored, which is computed once for all values of a state."""
        # Each restore has its own list, so its identity tells restores apart.
        types = options["named"]
        of, allowed = self._last
        if of is not types:
            mode, classes = _allowed(options.get("allowed_objects"))
            # The classes that the caller's own types name are allowed too, unless they run.
            named = [cls for cls in types if issubclass(cls, Serializable) and not issubclass(cls, Runnable)]
            allowed = mode, {**classes, **{tuple(cls.lc_id()): cls for cls in named}, **_MESSAGES}
            self._last = types, allowed
        return allowed

    def restore_part(self, fields: dict[str, Any], options: Mapping[str, Any]) -> Any:
        """Returns the object, if the caller allows its class."""
        path, arguments = fields.get("class"), fields["value"]
        if not isinstance(path, list) or not isinstance(arguments, dict) or not all(isinstance(p, str) for p in path):
            raise PersistIntegrityError("Format error: the state holds an invalid LangChain object", "invalid-format")
        is_filled = fields.get("filled") is True
        secrets, given = {} if is_filled else fields.get("secrets", {}), options.get("secrets", {})
        arguments = dict(arguments)
        for place, secret in secrets.items():
            if secret not in given:
                raise PersistConfigurationError(
                    f"{path[-1]} needs the secret {secret}, which is never in a snapshot",
                    "invalid-argument",
                    hint=f'pass secrets={{"{secret}": …}}',
                )
            *parents, last = place.split(".")
            holder = arguments
            for name in parents:
                holder = holder.setdefault(name, {})
            holder[last] = given[secret]
        mode, classes = self._allowed(options)
        known = classes.get(tuple(path))
        if known is not None and is_filled and _is_data(known):
            made = _made_of_fields(known, fields)
            return _models.made(known, fields) if made is None else made
        try:
            if known is not None:
                default_init_validator(tuple(path), arguments)
                made = known(**arguments)
            else:
                # It revives only this object: its arguments were already restored.
                revive = Reviver(mode, secrets_from_env=False)
                made = revive({"lc": 1, "type": "constructor", "id": path, "kwargs": arguments})
        except ValueError as error:
            if "not allowed" not in str(error):
                raise
            name = path[-1] if path else ""
            raise PersistTypeError(
                f"the state holds a LangChain object of class {'.'.join(path)}, which is not allowed",
                "invalid-argument",
                hint=f"add {name} to allowed_objects=[…] if you trust the author, or pass plain=True to get its data",
            ) from error
        if is_filled and _is_data(type(made)):
            return _models.made(type(made), fields)
        # A crafted state could put a secret into a field that is not secret.
        if any(made.lc_secrets.get(place) != secret for place, secret in secrets.items()):
            raise PersistIntegrityError(
                f"Format error: the state holds {a(path[-1])} with secrets in fields that are not secret",
                "invalid-format",
            )
        return made


_DATA = (messages.BaseMessage, BaseMedia, Generation, AgentAction, AgentFinish)


def _is_data(cls: Any) -> bool:
    """Returns whether a class is a data class, and not one that runs or may have secrets. Other
    classes of LangChain itself may have to check their arguments.
    """
    if issubclass(cls, Runnable):
        return False
    if issubclass(cls, _DATA):
        return True
    return (
        issubclass(cls, Serializable)
        and cls.lc_secrets is Serializable.lc_secrets
        and not cls.__module__.startswith(("langchain.", "langchain_"))
        # Message templates have classes as private attributes, and classes can't be saved.
        and not any(isinstance(kept.default, type) for kept in cls.__private_attributes__.values())
    )


def _without_defaults(value: Any, cls: Any) -> dict[str, Any]:
    """Returns the fields of a data object, without simple defaults that were not set: these are
    most fields of a message.
    """
    fields = _models.saved(value, cls, "pydantic")
    given, defaults = value.model_fields_set, _simple_defaults(cls)
    kept = {}
    for name, item in fields["value"].items():
        item = _plain(item)
        default = defaults.get(name, _NONE)
        if name in given or default is _NONE or type(item) is not type(default) or item != default:
            kept[name] = item
    fields["value"] = kept
    if given == kept.keys() | fields.get("extra", {}).keys():
        fields.pop("set", None)
    else:
        fields["set"] = sorted(given)
    return fields


def _made_of_fields(cls: Any, fields: dict[str, Any]) -> Any:
    """Returns what ``_models.made`` would make if there is nothing but fields, else ``None``."""
    names, value, given = _simple_names(cls), fields["value"], fields.get("set")
    if names is None or not fields.keys() <= _FIELDS_ALONE or not value.keys() <= names.keys():
        return None
    if given is None:
        given = value
    elif type(given) is not list or not all(type(name) is str for name in given):
        return None
    attributes = {}
    for name, default in names.items():
        if name in value:
            attributes[name] = value[name]
        elif default is _NONE:
            return None
        else:
            attributes[name] = default if default is None else default.copy()
    made = object.__new__(cls)
    object.__setattr__(made, "__dict__", attributes)
    object.__setattr__(made, "__pydantic_extra__", {} if cls.model_config.get("extra") == "allow" else None)
    object.__setattr__(made, "__pydantic_fields_set__", set(given))
    object.__setattr__(made, "__pydantic_private__", None)
    return made


_FIELDS_ALONE = {"$persist", "adapter", "class", "filled", "value", "set"}

_names: weakref.WeakKeyDictionary[type, dict[str, Any] | None] = weakref.WeakKeyDictionary()


def _simple_names(cls: Any) -> dict[str, Any] | None:
    """Returns the fields of a class, with their defaults if these are ``None`` or empty. Returns
    ``None`` for a class that keeps more than fields.
    """
    if cls not in _names:
        keeps_more = cls.__private_attributes__ or slots(cls)
        defaults = {
            name: item for name, item in _simple_defaults(cls).items() if item is None or type(item) in (list, dict)
        }
        _names[cls] = None if keeps_more else {name: defaults.get(name, _NONE) for name in cls.model_fields}
    return _names[cls]


_NONE: Any = object()

_defaults: weakref.WeakKeyDictionary[type, dict[str, Any]] = weakref.WeakKeyDictionary()


def _simple_defaults(cls: Any) -> dict[str, Any]:
    """Returns the defaults of the fields of a class that are ``None`` or empty."""
    if cls not in _defaults:
        found = {name: field.get_default(call_default_factory=True) for name, field in cls.model_fields.items()}
        _defaults[cls] = {name: item for name, item in found.items() if item is None or item in ([], {})}
    return _defaults[cls]


def _allowed(given: Any) -> tuple[Any, dict[tuple[str, ...], Any]]:
    """Returns what may be restored: LangChain's name for a set of its classes, and classes by
    their LangChain IDs. Message classes are always allowed.
    """
    if given is None or isinstance(given, str):
        return given or "messages", _MESSAGES
    classes = [given] if isinstance(given, type) else given
    if not isinstance(classes, (list, tuple, set, frozenset)) or not all(
        isinstance(cls, type) and issubclass(cls, Serializable) for cls in classes
    ):
        raise PersistTypeError(
            "allowed_objects must be a list of LangChain classes",
            "invalid-argument",
            hint='pass classes, or one of "messages", "core" and "all"',
        )
    return "messages", {**{tuple(cls.lc_id()): cls for cls in classes}, **_MESSAGES}


def _refuse_namesake(cls: Any) -> None:
    """Refuses a class that has the LangChain ID of another class. LangChain takes the ID from
    the base classes, and not from the module.
    """
    cls = cls.__pydantic_generic_metadata__["origin"] or cls
    path = tuple(cls.lc_id())
    *module, name = SERIALIZABLE_MAPPING.get(path, path)
    other = _MESSAGES.get(path) or getattr(sys.modules.get(".".join(module)), name, None)
    if isinstance(other, type) and other is not cls:
        raise PersistTypeError(
            f"LangChain gives {name_of(cls)} the name of {name_of(other)}, which would be restored in its place",
            "invalid-argument",
            hint="give the class another name",
        )


def _refuse_changed(value: Any, arguments: dict[str, Any]) -> None:
    """Refuses an object that differs from what would be created from its arguments, because it
    was changed later or because the class changes its arguments.
    """
    cls = type(value)
    try:
        made = cls(**arguments)
    except Exception as error:
        # The message of the error may contain a secret.
        raise PersistTypeError(
            f"{a(name_of(cls))} can't be created again from its arguments: {type(error).__name__}",
            "invalid-argument",
            hint="create it with all arguments that its class requires, or save only its arguments",
        ) from None
    for kept in ("__dict__", "__pydantic_private__"):
        anew, held = getattr(made, kept) or {}, getattr(value, kept) or {}
        for name, item in held.items():
            if is_data(item) and not (name in anew and same(anew[name], item)):
                raise PersistTypeError(
                    f"{name_of(cls)}.{name} would be restored differently: LangChain creates the object again from its "
                    "arguments",
                    "invalid-argument",
                    hint="create the object with its current values, and save that",
                )


def _plain(value: Any) -> Any:
    """Returns LangChain's own subclasses of text as plain text, and other values unchanged."""
    return str(value) if isinstance(value, str) and type(value).__module__.startswith("langchain_core") else value


def _refuse_secrets(arguments: dict[str, Any], cls: type) -> None:
    """Refuses secrets that LangChain does not know as secrets."""
    from pydantic import SecretStr

    for name, value in arguments.items():
        if isinstance(value, SecretStr):
            raise PersistTypeError(
                f"{cls.__qualname__}.{name} is a secret, and secrets can't be saved",
                "invalid-argument",
                hint="remove the secret, and set it again after the restore",
            )


ADAPTERS = (LangChainAdapter(),)

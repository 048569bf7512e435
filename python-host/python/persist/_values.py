"""Encodes and decodes values that JSON lacks. ``_persist`` handles plain values itself and
calls this module for the rest.

A snapshot never names code to import: the name of a class in it is looked up among the
registered classes and the classes that the caller's own class names. Nothing else is
restored as an instance.
"""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from persist import _models, _registry, _secrets, _standard
from persist._adapter import PartAdapter
from persist._classes import BUILT_IN, OF_FIELDS, kind_of, name_of, takes_methods
from persist._hashes import Hashes
from persist._models import as_data
from persist._reachable import reachable
from persist._words import a
from persist.errors import PersistError, PersistIntegrityError, PersistTypeError, not_a_value, raise_foreign

JSON = "application/json"
"""The media type of values."""

VALUE_ENCODING = 1
"""The version of the encoding of values as JSON."""


class Reducer:
    """Decides what to write for the values of one state that are not plain.

    Args:
        root: The class of the whole state. Its instances and those of the classes that it
            names can be restored if the caller passes it as ``into``.
        named: More types that the caller names in the restore.
        redact: The names whose values are left out.
    """

    def __init__(
        self, root: type | None = None, named: Iterable[Any] = (), redact: tuple[_secrets.Pattern, ...] = ()
    ) -> None:
        self._root, self._named, self._redact = root, list(named), redact
        self._known: list[dict[str, type]] | None = None
        self.redacts = bool(redact)
        """Whether any values are left out by their names. It is no property, because the encoder
        would not see an exception that a signal handler raises in one, such as Ctrl-C.
        """

    def __call__(self, value: Any) -> tuple[str, dict[str, Any], bool]:
        """Returns the kind of a value, its fields, and whether these are attributes."""
        cls = type(value)
        entry = _registry.by_class(cls)
        if entry is not None and entry.save is not None:
            self._check_means(entry)
            return "object", {"type": entry.name, "value": _saved_by(entry, value)}, False
        simple = _standard.saved(value, cls)
        if simple is not None:
            return (*simple, False)
        if entry is None:
            adapter = _registry.adapter_for_part(value)
            if adapter is not None:
                saved = _secrets.redacted(adapter.save_part(value), self._redact)
                return "part", {"adapter": adapter.name, **saved}, False
        else:
            self._check_means(entry)
        kind = kind_of(cls)
        if kind is None:
            raise _refused(value, cls)
        if entry is None:
            self._check_comes_back(value, cls, kind)
        name = name_of(cls) if entry is None else entry.name
        fields = _models.saved(value, cls, kind)
        if kind in OF_FIELDS:
            for part in ("value", "attributes", "extra", "private"):
                if part in fields:
                    fields[part] = _secrets.redacted(fields[part], self._redact)
                    _secrets.check(name_of(cls), fields[part])
        return "object", {"type": name, **fields}, kind in OF_FIELDS

    def _reached(self) -> list[dict[str, type]]:
        """Returns the classes that the caller names in the restore: those that the agent's
        code names, and those that the class of the whole state names.
        """
        if self._known is None:
            self._known = [reachable(self._named), reachable([self._root])]
        return self._known

    def _check_means(self, entry: _registry.Registered) -> None:
        """Refuses a name that would mean another class in the restore."""
        is_latest = _registry.by_type_name(entry.name) is entry
        others = [] if entry.name == name_of(entry.cls) else [known.get(entry.name) for known in self._reached()]
        if not is_latest or any(other not in (None, entry.cls) for other in others):
            says = "which was registered later" if not is_latest else "which the class of the state names"
            raise PersistTypeError(
                f"the name {entry.name!r} now belongs to another class, {says}",
                "invalid-argument",
                hint=f"give each class its own name: persist.register({entry.cls.__name__}, name=…)",
            )

    def _check_comes_back(self, value: Any, cls: type, kind: str) -> None:
        """Refuses an instance of a class that nobody would name in the restore."""
        by_adapter, by_root = (known.get(name_of(cls)) is cls for known in self._reached())
        if by_adapter:
            return
        package = next(filter(None, map(_registry.framework_of, cls.__mro__)), None)
        if package is not None:
            raise PersistTypeError(
                f"a value of type {name_of(cls)} from {package} can't be saved",
                "invalid-argument",
                hint="see docs/frameworks.md for what can be saved from this framework; "
                "for other values, use persist.register(…, save=…, restore=…)",
            )
        # The caller passes the class of the whole state as into.
        if cls is self._root and kind not in ("enum", "namedtuple"):
            return
        if not by_root:
            raise PersistTypeError(
                f"a value of type {name_of(cls)} would be restored as plain data",
                "invalid-argument",
                hint=f"register its class: persist.register({cls.__name__})",
            )


def _saved_by(entry: _registry.Registered, value: Any) -> Any:
    """Calls the registered ``save`` of a class."""
    assert entry.save is not None
    try:
        return entry.save(value)
    except PersistError:
        raise
    except Exception as error:
        raise_foreign(error, f"{a(entry.name)} can't be saved", "check the function that was registered as save")


_ENDLESS = (itertools.count, itertools.cycle, itertools.repeat)
"""Iterators that never end."""


def _refused(value: Any, cls: type) -> PersistTypeError:
    name, short = name_of(cls), cls.__name__
    base = next((base.__name__ for base in BUILT_IN if issubclass(cls, base)), None)
    if isinstance(value, type):
        hint = "save its name, or an instance"
    elif cls is memoryview:
        hint = "save its bytes: bytes(…)"
    elif cls in _ENDLESS:
        hint = "save the arguments it was made from, or leave it out"
    elif cls is types.MappingProxyType:
        hint = "save a plain dict: dict(…)"
    elif cls.__module__ == "builtins" or hasattr(cls, "__next__"):
        is_iterable = hasattr(cls, "__iter__")
        hint = "save a list of its items: list(…)" if is_iterable else "save the data in it, or leave it out"
    elif base is not None:
        hint = f"save a plain {base}, or register the class with persist.register({short}, save=…, restore=…)"
    elif takes_methods(cls):
        hint = (
            f"save the data in it, register its class with persist.register({short}, save=…, restore=…), "
            "or give the class __persist_state__() and the class method __persist_restore__(state)"
        )
    else:
        hint = f"save the data in it, or register its class with persist.register({short}, save=…, restore=…)"
    return PersistTypeError(f"a value of type {name} can't be saved", "invalid-argument", hint=hint)


class Rebuilder:
    """Makes values from what was written for them.

    Args:
        into: The class or instance that the caller restores into. Instances of its class
            and of the classes that it names are restored, as are those of registered classes.
        options: Arguments of :func:`persist.restore` for values of frameworks.
        plain: Return plain data for all instances.
        named: More types that the caller names.
    """

    def __init__(
        self,
        into: Any = None,
        options: Mapping[str, Any] | None = None,
        plain: bool = False,
        named: Iterable[Any] = (),
    ) -> None:
        self._cls = into if isinstance(into, type) or into is None else type(into)
        self._known = reachable([self._cls, *named])
        self._options: Mapping[str, Any] = {**(options or {}), "named": list(self._known.values())}
        self._plain = plain
        self._hashes = Hashes()
        self._unknown: list[tuple[Any, dict[str, Any]]] = []
        """Instances of unknown classes: their plain data, and what was written for them."""

    def __call__(self, kind: str, fields: dict[str, Any]) -> Any:
        if kind == "object":
            return self._object(fields)
        if kind == "part":
            return self._part(fields)
        if self._plain:
            data = _standard.plain(kind, fields)
            if data is not None:
                return data
        if kind not in ("set", "frozenset", "dict") or not (self._plain or self._unknown):
            return _standard.made(kind, fields, self._hashes)
        try:
            return _standard.made(kind, fields, self._hashes)
        except PersistIntegrityError as error:
            # An instance that became plain data can't be a key.
            if not isinstance(error.__cause__, TypeError):
                raise
            if self._plain:
                return fields["value"]
            raise _not_known(self._unknown[0][1]["type"]) from None

    def _object(self, fields: dict[str, Any]) -> Any:
        name = fields.get("type")
        if not isinstance(name, str) or "value" not in fields:
            raise not_a_value("it holds an invalid object")
        if self._plain:
            return as_data(fields)
        entry, cls = _registry.by_type_name(name), self._known.get(name)
        # A class that the caller names takes precedence over another one that was registered with its name.
        if entry is not None and (cls is None or cls is entry.cls):
            return restored(entry, fields["value"]) if entry.restore is not None else _models.made(entry.cls, fields)
        cls = cls or self._of_script(name)
        if cls is not None:
            return _models.made(cls, fields)
        data = as_data(fields)
        self._unknown.append((data, fields))
        return data

    def _of_script(self, name: str) -> type | None:
        """Returns a class of the program's main file, which is ``__main__`` if it is run,
        and has the name of the file if it is imported.
        """
        found = [
            cls
            for cls in self._known.values()
            if name == f"__main__.{cls.__qualname__}"
            or (cls.__module__ == "__main__" and name == f"{_script()}.{cls.__qualname__}")
        ]
        return found[0] if len(found) == 1 else None

    def _part(self, fields: dict[str, Any]) -> Any:
        """Restores a value of a framework."""
        name = fields.get("adapter")
        if not isinstance(name, str) or "value" not in fields:
            raise not_a_value("it holds an invalid value of a framework")
        if self._plain:
            return as_data(fields)
        adapter = _registry.adapter_by_name(name)
        if not isinstance(adapter, PartAdapter):
            raise not_a_value(f"the adapter {name!r} does not restore values")
        try:
            return adapter.restore_part(fields, self._options)
        except PersistError:
            raise
        except Exception as error:
            raise_foreign(
                error,
                f"{adapter.package} {adapter.version()} refused a value of the state",
                "restore with plain=True to see what it holds",
            )

    def finish(self, value: Any) -> Any:
        """Returns the whole value after it was decoded.

        Raises:
            PersistTypeError: A value in it is an instance of an unknown class. If only the
                whole value is, it is plain data.
        """
        is_root = bool(self._unknown) and self._unknown[-1][0] is value
        within = self._unknown[:-1] if is_root else self._unknown
        if within and (self._cls is not None or not is_root):
            raise _not_known(within[0][1]["type"])
        # The class may have moved to another module. The caller says which one it is now.
        if is_root and self._cls is not None and kind_of(self._cls) is not None:
            entry, written = _registry.by_class(self._cls), self._unknown[-1][1]
            name = written["type"].rpartition(".")[2]
            if name != self._cls.__qualname__.rpartition(".")[2]:
                raise PersistTypeError(
                    f"the state is {a(written['type'])}, not {a(self._cls.__qualname__)}",
                    "invalid-argument",
                    hint=f"if the class has a new name: persist.register({self._cls.__name__}, "
                    f"name={written['type']!r}); or restore with plain=True to get the data",
                )
            if entry is None or entry.restore is None:
                return _models.made(self._cls, written)
        return value


def _script() -> str:
    """Returns the name that the program's main file has if it is imported."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    return spec.name if spec is not None else Path(getattr(main, "__file__", None) or "").stem


def _not_known(name: str) -> PersistTypeError:
    return PersistTypeError(
        f"the state holds an instance of {name}, which is not registered",
        "invalid-argument",
        hint=f"import it and register it with persist.register(…, name={name!r}), or restore with plain=True "
        "to get the data",
    )


def restored(entry: _registry.Registered, value: Any) -> Any:
    """Calls the registered ``restore`` of a class."""
    assert entry.restore is not None
    try:
        return entry.restore(value)
    except PersistError:
        raise
    except Exception as error:
        _models.raise_unfit(entry.cls, error)

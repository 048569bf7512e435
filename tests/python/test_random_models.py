"""Instances of random classes come back equal and as the same classes."""

from __future__ import annotations

import dataclasses
import random
import time
from typing import Any

import pydantic
import pydantic.dataclasses
from effort import EXAMPLES
from instances import comes_back


class Maker:
    """Makes random classes and instances. The same seed always makes the same ones."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.classes: list[Any] = []
        self.depth = 0
        for number in range(6):
            make = self.random.choice([self.dataclass, self.model])
            self.classes.append(make(f"C{seed}_{number}"))

    def field(self) -> tuple[Any, Any]:
        """Returns a type, and a function that makes a value for it."""
        plain: list[tuple[Any, Any]] = [
            (int, lambda: self.random.randrange(100)),
            (str, lambda: "t" * self.random.randrange(3)),
            (bytes, lambda: b"b"),
            (Any, lambda: self.random.choice([None, 1.5, "x", (1, 2), {1, 2}, [b"1"], {"$persist": 1}])),
        ]
        if not self.classes or self.random.random() < 0.4:
            return self.random.choice(plain)
        cls: Any = self.random.choice(self.classes)
        return self.random.choice(
            [
                (cls, lambda: self.instance(cls)),
                (list.__class_getitem__(cls), lambda: [self.instance(cls) for _ in range(self.random.randrange(3))]),
                (dict.__class_getitem__((str, cls)), lambda: {"k": self.instance(cls)}),
                (tuple.__class_getitem__((cls, int)), lambda: (self.instance(cls), 1)),
            ]
        )

    def subclass_of(self, cls: Any) -> Any:
        """Returns a class or one of its subclasses."""
        known = [found for found in self.classes if issubclass(found, cls)]
        return self.random.choice(known)

    def dataclass(self, name: str) -> Any:
        bases: list[Any] = [cls for cls in self.classes if hasattr(cls, "__dataclass_fields__")]
        base = self.random.choice(bases) if bases and self.random.random() < 0.5 else None
        frozen: bool = base.__dataclass_params__.frozen if base else self.random.random() < 0.3
        fields, makers = [], {}
        for number in range(self.random.randrange(1, 4)):
            field, make = self.field()
            fields.append((f"{name}_f{number}", field))
            makers[f"{name}_f{number}"] = make
        slots = base is None and self.random.random() < 0.3
        cls: Any = dataclasses.make_dataclass(
            name, fields, bases=() if base is None else (base,), frozen=frozen, slots=slots, kw_only=True
        )
        cls.__module__ = __name__
        cls.makers = {**getattr(base, "makers", {}), **makers}
        return cls

    def model(self, name: str) -> Any:
        bases: list[Any] = [cls for cls in self.classes if issubclass(cls, pydantic.BaseModel)]
        base = self.random.choice(bases) if bases and self.random.random() < 0.5 else None
        fields: dict[str, Any] = {}
        makers = {}
        for number in range(self.random.randrange(1, 4)):
            field, make = self.field()
            at = f"f{number}_of_{name}"
            alias = f"alias{number}{name}" if self.random.random() < 0.3 else None
            fields[at] = (field, pydantic.Field(alias=alias, exclude=self.random.random() < 0.2))
            makers[alias or at] = make
        validators: Any = {
            "changed": pydantic.field_validator("*", mode="after")(lambda v: f"{v}!" if type(v) is str else v)
        }
        config = None if base else pydantic.ConfigDict(extra=self.random.choice(["allow", "ignore"]))
        fields["_private"] = (list[Any], pydantic.PrivateAttr(default_factory=list))
        cls: Any = pydantic.create_model(
            name, __base__=base, __config__=config, __validators__=validators, __module__=__name__, **fields
        )
        cls.makers = {**getattr(base, "makers", {}), **makers}
        return cls

    def instance(self, cls: Any) -> Any:
        """Returns an instance of a class or of a subclass, changed in ways that programs do."""
        # The types of fields are older classes, so without subclasses the recursion ends.
        cls = cls if self.depth > 2 else self.subclass_of(cls)
        self.depth += 1
        more = {"extra": [1]} if issubclass(cls, pydantic.BaseModel) and self.random.random() < 0.5 else {}
        makers: dict[str, Any] = vars(cls)["makers"]
        new = cls(**{name: make() for name, make in makers.items()}, **more)
        if isinstance(new, pydantic.BaseModel):
            new._private.append(self.random.random())  # type: ignore[attr-defined]
            if self.random.random() < 0.2:
                setattr(new, self.random.choice(list(cls.model_fields)), "of another type")
        elif self.random.random() < 0.2 and hasattr(new, "__dict__"):
            object.__setattr__(new, "notes", {"not": "a field"})
        self.depth -= 1
        return new


def test_random_models_come_back() -> None:
    began, count = time.monotonic(), 0
    for seed in range(EXAMPLES // 100):
        maker = Maker(seed)
        for _ in range(100):
            comes_back(maker.instance(maker.random.choice(maker.classes)))
            count += 1
    print(f"{count} instances of {EXAMPLES // 100 * 6} classes came back, in {time.monotonic() - began:.0f} s")
    assert count == EXAMPLES

"""Instances of classes come back equal and as the same classes, or are refused."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import http
import json
import random
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar

import attr
import attrs
import persist
import pydantic
import pydantic.dataclasses
import pydantic_core
import pytest


def parts(value: Any) -> Any:
    """All that an instance holds, with the classes."""
    cls = type(value)
    if isinstance(value, pydantic.BaseModel):
        private = value.__pydantic_private__ or {}
        held = {**value.__dict__, **(value.__pydantic_extra__ or {}), **private}
        return cls, parts(held), sorted(value.model_fields_set)
    if dataclasses.is_dataclass(cls) or attr.has(cls):
        names = [*getattr(value, "__dict__", ()), *(n for base in cls.__mro__ for n in getattr(base, "__slots__", ()))]
        return cls, {name: parts(getattr(value, name)) for name in sorted(names) if hasattr(value, name)}
    if isinstance(value, dict):
        return cls, {name: parts(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return cls, [parts(item) for item in value]
    return cls, value


def comes_back(value: Any) -> Any:
    """Saves and restores a value into its own class; it has to be the same."""
    store = persist.Store("memory://models")
    store.snapshot(value, "x", level=1)
    restored = store.restore("x", into=type(value))
    assert parts(restored) == parts(value)
    return restored


# ---- One by one --------------------------------------------------------------------


@dataclasses.dataclass
class Tool:
    name: str


@dataclasses.dataclass
class Search(Tool):
    index: str = "products"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    number: int


@dataclasses.dataclass
class Counted:
    runs = 0
    tools: list[Tool]
    seed: dataclasses.InitVar[int]
    frozen: Frozen | None = None
    total: int = dataclasses.field(init=False, default=0)
    hidden: str = dataclasses.field(init=False, repr=False, default="not set")

    def __post_init__(self, seed: int) -> None:
        type(self).runs += 1
        self.total = self.total + seed


def test_dataclasses_come_back_without_being_made_again() -> None:
    value = Counted([Search("a", "b"), Tool("c")], 3, Frozen(number=1))
    value.notes = ["not a field"]  # type: ignore[attr-defined]
    runs = Counted.runs
    restored = comes_back(value)
    assert Counted.runs == runs
    assert (restored.total, restored.notes) == (3, ["not a field"])
    del value.tools
    with pytest.raises(persist.PersistTypeError, match="no value for its field tools"):
        persist.snapshot(value, "x")


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")

    password: str
    left: int = pydantic.Field(default=1, ge=0, alias="remaining")
    hidden: str = pydantic.Field(default="default", exclude=True)
    tools: list[Model] = []
    made: list[Tool] = []
    _history: list[str] = pydantic.PrivateAttr(default_factory=list)
    _unset: int = pydantic.PrivateAttr()

    @pydantic.field_validator("password")
    @classmethod
    def hashed(cls, value: str) -> str:
        return f"hash of {value}"

    def model_post_init(self, context: Any) -> None:
        self._history.append("made")


class Special(Model):
    index: int


class Root(pydantic.RootModel[list[Model]]):
    pass


def test_models_come_back_without_being_validated_again() -> None:
    inner = Special(password="p", index=2)
    value = Model(password="secret", hidden="mine", tools=[inner], made=[Search("a")], more=(1, 2))  # type: ignore[call-arg]
    value.left = -5
    value.tools.append("not a model")  # type: ignore[arg-type]
    value._history.append("Hello")
    restored = comes_back(value)
    assert restored.password == "hash of secret"
    assert restored._history == ["made", "Hello"]
    comes_back(Root([inner]))
    into = Model(password="old", of_old=True)  # type: ignore[call-arg]
    into._history.append("of old")
    persist.snapshot(value, "x")
    assert persist.restore("x", into=into) is into
    assert parts(into) == parts(value)


def test_into_an_instance_keeps_nothing_old() -> None:
    value, into = Search("new"), Search("old")
    into.notes = "of old"  # type: ignore[attr-defined]
    persist.snapshot(value, "x")
    persist.restore("x", into=into)
    assert vars(into) == vars(value)


def test_plain_data_is_validated() -> None:
    persist.snapshot({"password": "p", "left": "many"}, "x")
    with pytest.raises(persist.PersistTypeError, match="ValidationError") as wrong:
        persist.restore("x", into=Model)
    assert isinstance(wrong.value.__cause__, pydantic.ValidationError)
    persist.snapshot({"password": "p", "left": 3}, "x")
    assert persist.restore("x", into=Model).password == "hash of p"
    persist.snapshot({"name": "a", "index": "b"}, "x")
    assert persist.restore("x", into=Search) == Search("a", "b")
    for state, says in [({"name": "a", "size": 1}, "no such field"), ({}, "missing"), ([1], "it is a list")]:
        persist.snapshot(state, "x")
        with pytest.raises(persist.PersistTypeError, match=says):
            persist.restore("x", into=Search)


class Strict:
    def __init__(self, number: int) -> None:
        self.number = number

    def __persist_state__(self) -> int:
        return self.number

    @classmethod
    def __persist_restore__(cls, state: int) -> Strict:
        if state < 0:
            raise ValueError("below zero")
        if state > 9:
            raise ConnectionError("db gone")
        return cls(state)


def test_what_a_class_raises_has_the_class_it_should() -> None:
    persist.snapshot(Strict(-1), "x")
    with pytest.raises(persist.PersistTypeError, match="refused the state: ValueError: below zero") as wrong:
        persist.restore("x", into=Strict)
    assert isinstance(wrong.value.__cause__, ValueError)
    persist.snapshot(Strict(10), "x")
    with pytest.raises(ConnectionError, match="db gone") as gone:
        persist.restore("x", into=Strict)
    assert isinstance(gone.value, persist.PersistError)
    assert gone.value.retryable


class State(TypedDict):
    step: int


def test_what_is_no_class_of_values() -> None:
    persist.snapshot(State(step=3), "x")
    assert persist.restore("x", into=State) == {"step": 3}
    with pytest.raises(persist.PersistTypeError, match="not a class"):
        persist.restore("x", into=list[int])


class Pair(NamedTuple):
    left: Any
    right: Any


class Color(enum.Enum):
    RED = "red"


class Outsider(pydantic.BaseModel):
    a: int = 1


@dataclasses.dataclass
class Holder:
    anything: Any


@pytest.mark.parametrize("inner", [Tool("a"), Outsider(), Pair(1, 2), Color.RED, Strict(1), Frozen(number=1)])
def test_what_nobody_names_is_refused(inner: Any) -> None:
    for value, place in [
        ({"a": [1, inner]}, r"state\['a'\]\[1\]"),
        (Holder([inner]), r"state\.anything\[0\]"),
        ([Holder({"b": inner})], r"state\[0\]"),
    ]:
        with pytest.raises(
            persist.PersistTypeError, match=rf"would come back as plain data, at {place}(\n|$)"
        ) as refused:
            persist.snapshot(value, "x")
        assert refused.value.hint is not None
        assert refused.value.hint.startswith("register its class: persist.register(")
        assert not persist.snapshot_exists("x")


def test_a_class_that_is_gone_is_named() -> None:
    @dataclasses.dataclass
    class Gone(Tool):
        size: int = 1

    persist.snapshot(Holder2([Gone("a")]), "x")
    state = persist.Store(".").load_bytes("x").replace(b"Gone", b"Lost")
    persist.Store(".").save_bytes(state, "y", content_type="application/json")
    place, key = persist._persist.locate("y", {})
    place.save_bytes(key, state, {"content_type": "application/json", "extra": '{"value_encoding": 1}'})
    with pytest.raises(persist.PersistTypeError, match=r"Lost, which is not registered") as lost:
        persist.restore("y", into=Holder2)
    assert lost.value.hint is not None
    assert "persist.register" in lost.value.hint
    assert persist.restore("y", plain=True) == {"tools": [{"name": "a", "size": 1}]}


@dataclasses.dataclass
class Holder2:
    tools: list[Tool]


def test_a_script_and_whoever_imports_it(folder: Path) -> None:
    source = """
    import dataclasses, sys
    import persist

    @dataclasses.dataclass
    class Step:
        number: int

    @dataclasses.dataclass
    class Agent:
        steps: list[Step]

    if __name__ == "__main__":
        if sys.argv[1] == "save":
            persist.snapshot(Agent([Step(1)]), "agent")
        else:
            assert persist.restore("agent", into=Agent) == Agent([Step(1)])
    """
    (folder / "myagent.py").write_text(textwrap.dedent(source))
    imported = "import myagent, persist, sys\nagent = myagent.Agent([myagent.Step(1)])\n"
    imported += "if sys.argv[1] == 'save': persist.snapshot(agent, 'agent')\n"
    imported += "else: assert persist.restore('agent', into=myagent.Agent) == agent\n"
    (folder / "importing.py").write_text(imported)
    for saves in ("myagent.py", "importing.py"):
        for restores in ("myagent.py", "importing.py"):
            for script, what in [(saves, "save"), (restores, "restore")]:
                done = subprocess.run([sys.executable, script, what], capture_output=True, text=True)
                assert done.returncode == 0, (saves, restores, done.stderr)


@pytest.mark.parametrize("value", [(n for n in range(3)), iter([1]), range(3), {}.keys()])
def test_an_iterator_is_to_be_a_list(value: Any) -> None:
    with pytest.raises(persist.PersistTypeError) as refused:
        persist.snapshot({"steps": value}, "x")
    assert refused.value.hint == "save a list of what it gives: list(…)"


def test_a_state_is_as_large_as_is_allowed() -> None:
    persist.snapshot(["a" * 1000], "x")
    assert persist.restore("x", max_size=1004) == ["a" * 1000]
    with pytest.raises(persist.PersistMemoryLimitError, match="1004 bytes, and max_size is 1003") as limit:
        persist.restore("x", max_size=1003)
    assert limit.value.hint
    with pytest.raises(persist.PersistTypeError, match="max_size must be a number of bytes"):
        persist.restore("x", max_size="1 GiB")  # type: ignore[call-overload]


@pytest.mark.parametrize("kind", ["set", "frozenset", "dict"])
def test_what_is_made_to_be_slow_is_refused(kind: str) -> None:
    numbers = [n * (2**61 - 1) for n in range(20_000)]
    makers: dict[str, Any] = {"set": set, "frozenset": frozenset, "dict": dict.fromkeys}
    state = makers[kind](numbers[:256])
    persist.snapshot({"a": state}, "x")
    assert persist.restore("x") == {"a": state}
    items = [[number, None] for number in numbers] if kind == "dict" else numbers
    place, key = persist._persist.locate("y", {})
    text = f'{{"$persist":"{kind}","value":{str(items).replace("None", "null")}}}'
    place.save_bytes(key, text.encode(), {"content_type": "application/json", "extra": '{"value_encoding": 1}'})
    with pytest.raises(persist.PersistIntegrityError, match="have the same hash"):
        persist.restore("y")


# ---- At random -----------------------------------------------------------------------


class Maker:
    """Makes classes, and instances of them, at random but always the same."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.classes: list[Any] = []
        self.depth = 0
        for number in range(6):
            make = self.random.choice([self.dataclass, self.model])
            self.classes.append(make(f"C{seed}_{number}"))

    def field(self) -> tuple[Any, Any]:
        """A type, and what makes a value for it."""
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
        """One of its subclasses, or itself."""
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
        """An instance of a class or of a subclass, changed as programs do."""
        # Fields have types that were made before: without subclasses, it ends.
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


def test_models_at_random() -> None:
    began, count = time.monotonic(), 0
    for seed in range(100):
        maker = Maker(seed)
        for _ in range(100):
            comes_back(maker.instance(maker.random.choice(maker.classes)))
            count += 1
    print(f"{count} instances of {100 * 6} classes came back, in {time.monotonic() - began:.0f} s")
    assert count == 10_000


# ---- What a review found -----------------------------------------------------------


def crafted(value: Any, name: str = "crafted") -> str:
    """A snapshot that somebody else wrote."""
    place, key = persist._persist.locate(name, {})
    options = {"content_type": "application/json", "extra": '{"value_encoding": 1}'}
    place.save_bytes(key, json.dumps(value).encode(), options)
    return name


def test_a_long_integer_beside_a_decimal_is_refused() -> None:
    number = 1 << 1_000_000
    number += (12345 - number) % (2**61 - 1)
    decimal = {"$persist": "decimal", "value": "12345"}
    state = {"$persist": "set", "value": [decimal, {"$persist": "int", "value": f"{number:x}"}]}
    began = time.monotonic()
    with pytest.raises(persist.PersistIntegrityError, match="has the hash of a decimal number"):
        persist.restore(crafted(state))
    assert time.monotonic() - began < 5


def test_an_enum_is_never_changed() -> None:
    persist.register(Color)
    persist.snapshot(Color.RED, "x")
    with pytest.raises(persist.PersistTypeError, match="can't be changed"):
        persist.restore("x", into=Color.RED)
    assert Color("red").name == "RED"


def test_a_subclass_is_not_put_into_its_base() -> None:
    persist.snapshot(Search("a"), "x")
    into = Tool("old")
    with pytest.raises(persist.PersistTypeError, match="can't be put into a Tool"):
        persist.restore("x", into=into)
    assert vars(into) == {"name": "old"}


def test_two_classes_of_one_name() -> None:
    def make() -> Any:
        @dataclasses.dataclass
        class Twin:
            a: int

        return persist.register(Twin)

    first, second = make(), make()
    with pytest.raises(persist.PersistTypeError, match="now belongs to another class"):
        persist.snapshot([first(1)], "x")
    persist.snapshot([second(1)], "x")
    assert type(persist.restore("x")[0]) is second


@dataclasses.dataclass
class Checked(Tool):
    limit: ClassVar[int] = 3

    def check(self) -> bool:
        return False


def test_a_class_that_the_caller_names_is_meant() -> None:
    @dataclasses.dataclass
    class New:
        name: str

    persist.register(New, name=f"{__name__}.Tool")
    persist.snapshot(Holder2([Tool("a")]), "x", check=True)
    assert persist.restore("x", into=Holder2) == Holder2([Tool("a")])


def test_attributes_shadow_no_method() -> None:
    fields = {"$persist": "object", "type": f"{__name__}.Checked", "value": {"name": "a"}}
    assert persist.restore(crafted({**fields, "attributes": {"notes": 1}}), into=Checked).notes == 1  # type: ignore[attr-defined]
    for name in ("__class__", "__eq__", "check", "limit"):
        with pytest.raises(persist.PersistTypeError, match="is not valid"):
            persist.restore(crafted({**fields, "attributes": {name: 1}}), into=Checked)


@pytest.mark.parametrize("name", ["check", "limit"])
def test_what_hides_what_belongs_to_the_class_is_refused(name: str) -> None:
    checked = Checked("a")
    setattr(checked, name, 1)
    with pytest.raises(persist.PersistTypeError, match=f"its attribute {name} hides"):
        persist.snapshot(checked, "x")


Level = NewType("Level", Tool)
R = TypeVar("R", bound=Pair)


@dataclasses.dataclass
class Named(Generic[R]):
    """Names its classes in every way that there is."""

    tool: Level | None
    color: Literal[Color.RED, "none"]
    key: R


def test_every_way_to_name_a_class() -> None:
    value = Named(Level(Search("a")), Color.RED, Pair(1, 2))
    persist.snapshot(value, "x", check=True)
    assert persist.restore("x", into=Named) == value


class Keeping:
    __slots__ = ("__even__", "__own")

    def __init__(self, even: int, own: int) -> None:
        self.__even__, self.__own = even, own


@dataclasses.dataclass
class Kept(Keeping):
    a: int = 1


def test_slots_of_every_name() -> None:
    value = Kept()
    Keeping.__init__(value, 2, 3)
    persist.snapshot(value, "x", check=True)
    back = persist.restore("x", into=Kept)
    assert (back.a, back.__even__, back._Keeping__own) == (1, 2, 3)  # type: ignore[attr-defined]


@dataclasses.dataclass
class Node:
    name: str
    parent: Node | None = None
    children: list[Node] = dataclasses.field(default_factory=list)


def test_a_way_back_is_named() -> None:
    root = Node("root")
    root.children.append(Node("leaf", root))
    with pytest.raises(persist.PersistTypeError, match=r"contains itself: a (Node|list) is within itself") as cycle:
        persist.snapshot(root, "x")
    assert "state.children[0].parent.children[0].parent" in str(cycle.value)


class Key(NamedTuple):
    a: int


def test_what_instances_are_keys_of() -> None:
    persist.register(Key)
    persist.snapshot({Key(1): {Key(2)}}, "x")
    assert persist.restore("x") == {Key(1): {Key(2)}}
    assert persist.restore("x", plain=True) == [[[1], [[2]]]]
    state = persist.Store(".").load_bytes("x").replace(b"Key", b"Gone")
    place, key = persist._persist.locate("y", {})
    place.save_bytes(key, state, {"content_type": "application/json", "extra": '{"value_encoding": 1}'})
    with pytest.raises(persist.PersistTypeError, match="Gone, which is not registered"):
        persist.restore("y")


def test_times_of_pydantic() -> None:
    class At(pydantic.BaseModel):
        at: datetime.datetime

    value = At.model_validate_json('{"at": "2026-01-31T12:00:00+02:00"}')
    persist.snapshot(value, "x")
    assert persist.restore("x", into=At) == value


B = TypeVar("B")


@dataclasses.dataclass
class Box(Generic[B]):
    item: B


def test_a_generic_dataclass() -> None:
    persist.snapshot(Box[int](1), "x")
    assert persist.restore("x", into=Box) == Box(1)


@pydantic.dataclasses.dataclass
class Grown:
    a: int
    b: list[int] = pydantic.Field(default_factory=list)


def test_a_field_that_came_later_has_its_default() -> None:
    state = {"$persist": "object", "type": f"{__name__}.Grown", "value": {"a": 1}}
    assert persist.restore(crafted(state), into=Grown) == Grown(1)


# ---- Named tuples, enums, classes of attrs, addresses -----------------------------


class Shape(enum.Enum):
    DOT = (0, 0)
    LINE = "line"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Loud(str, enum.Enum):
    YES = "yes"


class Step(NamedTuple):
    number: int
    shape: Shape = Shape.DOT


Old = collections.namedtuple("Old", "a b")


@pytest.mark.parametrize(
    "value",
    [
        *(Shape.DOT, Shape.LINE, Rights.READ, Rights.READ | Rights.WRITE, Rights(0), Loud.YES, http.HTTPStatus.OK),
        *(Step(1), Step(2, Shape.LINE), Old(1, (2, 3))),
    ],
    ids=repr,
)
def test_one_member_or_named_tuple_may_be_the_whole_state(value: Any) -> None:
    persist.snapshot(value, "x", check=True)
    restored = persist.restore("x", into=type(value))
    assert type(restored) is type(value)
    assert restored == value
    assert not isinstance(value, enum.Enum) or restored is value


@dataclasses.dataclass
class Plan:
    steps: list[Step]
    rights: dict[str, Rights]
    last: tuple[Old, Literal[Shape.LINE]] | None = None
    loud: Loud | None = None


class PlanModel(pydantic.BaseModel):
    steps: dict[Shape, Step]


@pytest.mark.parametrize(
    "value",
    [
        Plan([Step(1, Shape.LINE)], {"a": Rights.READ | Rights.WRITE}, (Old(1, 2), Shape.LINE), Loud.YES),
        PlanModel(steps={Shape.DOT: Step(1)}),
    ],
)
def test_what_annotations_name_comes_back_with_its_class(value: Any) -> None:
    persist.snapshot(value, "x", check=True)
    restored = persist.restore("x", into=type(value))
    assert restored == value
    assert parts(restored) == parts(value)


def test_plain_data_becomes_a_named_tuple() -> None:
    states: list[Any] = [{"number": 1}, [1], (1,)]
    for state in states:
        persist.snapshot(state, "x")
        assert persist.restore("x", into=Step) == Step(1)
    wrong: list[Any] = [({"nmber": 1}, "no such field"), ({}, "number"), ([1, 2, 3], "refused"), (1, "it is a int")]
    for state, says in wrong:
        persist.snapshot(state, "x")
        with pytest.raises(persist.PersistTypeError, match=says):
            persist.restore("x", into=Step)
    fields = {"$persist": "object", "type": f"{__name__}.Step"}
    states = ["ab", {"number": 1, "shape": 2}, 7]
    for state in states:
        with pytest.raises(persist.PersistTypeError, match="does not fit"):
            persist.restore(crafted({**fields, "value": state}), into=Step)


@attrs.define
class Part:
    name: str
    runs: ClassVar[int] = 0
    _hidden: list[Part] = attrs.field(factory=list)
    shape: Shape = Shape.DOT
    total: int = attrs.field(init=False, default=0, on_setattr=attrs.setters.frozen)

    def __attrs_post_init__(self) -> None:
        type(self).runs += 1


@attrs.define
class BigPart(Part):
    size: int = attrs.field(default=1, validator=attrs.validators.ge(1), kw_only=True)


OldStyle: Any = attr.make_class(
    "OldStyle",
    {"a": attr.ib(type=Shape), "b": attr.ib(default=attr.Factory(lambda self: self.a, takes_self=True))},
    frozen=True,
    cache_hash=True,
)
OldStyle.__module__ = __name__


@attrs.frozen(cache_hash=True)
class Hashed:
    a: str


Undecorated: Any = type("Undecorated", (OldStyle,), {"__module__": __name__})


def test_classes_of_attrs_come_back_without_being_made_again() -> None:
    value = Part("a", [BigPart("b", size=2), Part("c")], Shape.LINE)
    object.__setattr__(value._hidden[0], "size", "not checked")
    runs = Part.runs
    comes_back(value)
    assert Part.runs == runs
    old = OldStyle(Shape.LINE, {"a": Hashed("b")})
    with pytest.raises(persist.PersistTypeError, match=r"Hashed would come back as plain data, at state.b\['a'\]"):
        persist.snapshot(old, "x")
    for whole in (OldStyle(Shape.LINE), Undecorated(Shape.DOT, [1])):
        whole.__dict__["notes"] = (1, 2)
        comes_back(whole)
    into = Part("old")
    persist.snapshot(value, "x")
    assert persist.restore("x", into=into) is into
    assert into == value
    persist.snapshot(Hashed("b"), "x")
    with pytest.raises(persist.PersistTypeError, match="can't be changed"):
        persist.restore("x", into=Hashed("a"))


def test_a_hash_that_attrs_keeps_is_of_one_process(folder: Path) -> None:
    """Texts have other hashes in another process."""
    source = """
    import sys
    import attr, attrs, persist

    @attrs.frozen(cache_hash=True)
    class Slotted:
        a: str

    @attr.s(frozen=True, cache_hash=True)
    class Plain:
        a = attr.ib()

    for cls in (Slotted, Plain):
        persist.register(cls)
    found = [Slotted("x"), Plain("x")]
    if sys.argv[1] == "save":
        persist.snapshot({key: hash(key) for key in found}, "x")
    else:
        restored = persist.restore("x")
        assert [restored[key] for key in found], restored
        assert [hash(key) for key in restored] == [hash(key) for key in found] != list(restored.values())
    """
    (folder / "hashing.py").write_text(textwrap.dedent(source))
    for what in ("save", "restore"):
        done = subprocess.run([sys.executable, "hashing.py", what], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    fields = {"$persist": "object", "type": f"{__name__}.Hashed", "value": {"a": "b"}}
    state = {**fields, "attributes": {"_attrs_cached_hash": 7}}
    assert hash(persist.restore(crafted(state), into=Hashed)) == hash(Hashed("b")) != 7


@attrs.frozen(hash=False)
class Wide:
    items: Any

    def __hash__(self) -> int:
        return 1


def test_what_is_in_a_class_of_attrs_counts_where_it_is_compared() -> None:
    persist.register(Wide)
    persist.snapshot({Wide(collections.deque([n])) for n in range(64)}, "x", check=True)
    wide = {Wide(collections.deque(range(20_000 + n))) for n in range(64)}
    with pytest.raises(persist.PersistTypeError, match="comparing them takes too long"):
        persist.snapshot(wide, "x")


def test_plain_data_of_a_class_of_attrs() -> None:
    persist.snapshot({"name": "a", "_hidden": [], "size": 3, "total": 5}, "x")
    assert persist.restore("x", into=BigPart).total == 5
    for state, says in [({"name": "a", "size": 0}, "ValueError"), ({"nme": "a"}, "no such field"), ({}, "missing")]:
        persist.snapshot(state, "x")
        with pytest.raises(persist.PersistTypeError, match=says):
            persist.restore("x", into=BigPart)
    fields = {"$persist": "object", "type": f"{__name__}.BigPart"}
    assert persist.restore(crafted({**fields, "value": {"name": "a"}}), into=BigPart) == BigPart("a")
    for value, says in [({}, "missing"), ({"name": "a", "x": 1}, "no such field"), ([], "it is a list")]:
        with pytest.raises(persist.PersistTypeError, match=says):
            persist.restore(crafted({**fields, "value": value}), into=BigPart)
    with pytest.raises(persist.PersistTypeError, match="made of the other fields"):
        persist.restore(crafted({**fields, "type": f"{__name__}.OldStyle", "value": {"a": 1}}), into=OldStyle)


URLS = [
    pydantic.HttpUrl("https://me:pa%40ss@example.com:8443/ä?q=1#f"),
    pydantic.AnyUrl("foo:bar"),
    pydantic.AnyHttpUrl("http://münchen.de"),
    pydantic.FileUrl("file:///a/b"),
    pydantic.FtpUrl("ftp://a/b"),
    pydantic.WebsocketUrl("wss://a"),
    pydantic.AnyWebsocketUrl("ws://a"),
    pydantic.PostgresDsn("postgres://me:pass@a:1,b:2/db"),
    pydantic.CockroachDsn("cockroachdb://a/db"),
    pydantic.AmqpDsn("amqp://a"),
    pydantic.RedisDsn("redis://"),
    pydantic.MongoDsn("mongodb://a,b/db"),
    pydantic.KafkaDsn("kafka://a"),
    pydantic.NatsDsn("nats://a"),
    pydantic.MySQLDsn("mysql://a"),
    pydantic.MariaDBDsn("mariadb://a"),
    pydantic.ClickHouseDsn("clickhouse+native://a"),
    pydantic.SnowflakeDsn("snowflake://a:b@c"),
    pydantic_core.Url("http://a.b/c"),
    pydantic_core.MultiHostUrl("http://a,b/c"),
]


@pytest.mark.parametrize("url", URLS, ids=lambda url: type(url).__name__)
def test_every_address_comes_back(url: Any) -> None:
    persist.snapshot({"a": [url], url: {url}}, "x", check=True)
    restored = persist.restore("x")
    assert restored == {"a": [url], url: {url}}
    assert (type(restored["a"][0]), str(restored["a"][0])) == (type(url), str(url))
    persist.snapshot(url, "x", check=True)
    assert persist.restore("x", into=type(url)) == url
    assert persist.restore("x", plain=True) == str(url)


class OwnUrl(pydantic.AnyUrl):
    pass


def test_an_address_that_its_text_does_not_give() -> None:
    class Keeping(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(url_preserve_empty_path=True)
        url: pydantic.HttpUrl

    kept = Keeping(url="http://example.com")  # type: ignore[arg-type]
    with pytest.raises(persist.PersistTypeError, match=r"its text gives another one, at state.url(\n|$)") as refused:
        persist.snapshot(kept, "x")
    assert refused.value.hint == "save its text: str(…)"
    persist.snapshot({"url": str(kept.url)}, "x", check=True)
    with pytest.raises(persist.PersistTypeError, match="OwnUrl can't be saved") as refused:
        persist.snapshot([OwnUrl("a:b")], "x")
    assert "persist.register(OwnUrl, save=…, restore=…)" in (refused.value.hint or "")
    persist.register(OwnUrl, save=str, restore=OwnUrl)
    persist.snapshot([OwnUrl("a:b")], "x", check=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "HttpUrl", "value": "ftp://a"},
        {"type": "HttpUrl", "value": "x" * 5000},
        {"type": "HttpUrl", "value": 1},
        {"type": "HttpUrl"},
        {"type": "BaseModel", "value": "http://a"},
        {"type": "create_model", "value": "http://a"},
        {"type": ["HttpUrl"], "value": "http://a"},
        {"value": "http://a"},
    ],
    ids=str,
)
def test_an_address_that_is_none(fields: dict[str, Any]) -> None:
    with pytest.raises(persist.PersistIntegrityError, match="url"):
        persist.restore(crafted([{"$persist": "url", **fields}]))


def test_pydantic_is_never_imported_for_a_snapshot() -> None:
    persist.snapshot([pydantic.HttpUrl("http://a.b/")], "x")
    program = """
import sys
import persist
try:
    persist.restore("x")
except persist.PersistConfigurationError as error:
    assert "pydantic, which this program has not imported" in str(error), error
    assert error.hint.startswith("import pydantic first"), error.hint
assert persist.restore("x", plain=True) == ["http://a.b/"]
assert "pydantic" not in sys.modules
import pydantic
assert persist.restore("x") == [pydantic.HttpUrl("http://a.b/")]
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

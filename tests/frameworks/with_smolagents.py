"""smolagents: the steps of an agent."""

from __future__ import annotations

import dataclasses
import enum
import json
from typing import Any

import persist
import PIL.Image
from smolagents import ChatMessage, CodeAgent, MessageRole, Model, ToolCallingAgent
from smolagents.agent_types import AgentImage, AgentText
from smolagents.memory import ActionStep, MemoryStep
from smolagents.monitoring import Timing, TokenUsage
from smolagents.utils import AgentError, AgentExecutionError
from turns import FIRST, SECOND, THIRD, answer, check, main, raises


class Told(Model):
    """A model that answers with the tasks that it was given."""

    def generate(self, messages: list[ChatMessage], **others: Any) -> ChatMessage:
        texts = [
            block["text"]
            for message in messages
            if message.role == MessageRole.USER
            for block in message.content or []
            if isinstance(block, dict)
        ]
        tasks = [line for text in texts for line in text.split("\n") if line in (FIRST, SECOND, THIRD)]
        code = f"Thought: I know.\n<code>\nfinal_answer({answer(tasks)!r})\n</code>"
        return ChatMessage(role=MessageRole.ASSISTANT, content=code)


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class NotedStep(ActionStep):
    note: str = ""


@dataclasses.dataclass
class Remark(MemoryStep):
    """The program's own step, which is not derived from a step of smolagents."""

    text: str = ""

    def to_messages(self, summary_mode: bool = False) -> list[ChatMessage]:
        return []


class Noting(CodeAgent):
    """The program's own agent, which keeps notes and uses a client."""

    __persist_exclude__ = ("client",)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.notes: list[str] = []
        self.client = object()


class Written(Model):
    """A model that writes the same code in each step."""

    def __init__(self, code: str = "final_answer('ready')") -> None:
        super().__init__()
        self.code = code

    def generate(self, messages: list[ChatMessage], **others: Any) -> ChatMessage:
        content = f"<code>\n{self.code}\n</code>"
        return ChatMessage(role=MessageRole.ASSISTANT, content=content, token_usage=TokenUsage(7, 3))


class OddError(AgentError):
    """The program's own error."""


def agent() -> CodeAgent:
    return CodeAgent(tools=[], model=Told(), verbosity_level=0)


def managing(code: str = "final_answer('ready')") -> CodeAgent:
    """Makes an agent that manages an agent that manages another one."""
    below: list[Any] = []
    for name in ("inner", "outer"):
        described = {"name": name, "description": name, "managed_agents": below}
        below = [CodeAgent(tools=[], model=Written(), verbosity_level=-1, **described)]
    return CodeAgent(tools=[], model=Written(code), managed_agents=below, verbosity_level=-1)


def save(location: str) -> None:
    asked = agent()
    asked.run(FIRST)
    asked.run(SECOND, reset=False)
    saved = persist.snapshot(asked, location, check=True)
    assert saved.adapter is not None
    assert saved.adapter["name"] == "smolagents"
    noted = Noting(tools=[], model=Told(), verbosity_level=0)
    noted.state["document"] = "the text to work on"
    noted.notes.append("call back on Monday")
    noted.memory.steps.append(ActionStep(step_number=1, timing=Timing(1.0, 2.0), action_output=Color.RED))
    # A step whose code returns a function, which is code and not data.
    noted.memory.steps.append(ActionStep(step_number=2, timing=Timing(1.0, 2.0), action_output=lambda: 1))
    refused("with_smolagents.Color", noted, location + ".noted")
    persist.register(Color)
    persist.snapshot(noted, location + ".noted", check=True)
    noted.memory.steps.append(NotedStep(step_number=1, timing=Timing(1.0, 2.0), note="check this"))
    refused("with_smolagents.NotedStep", noted, location + ".step")
    noted.memory.steps[-1] = Remark("check this")
    refused("with_smolagents.Remark", noted, location + ".step")
    persist.register(Remark)
    persist.snapshot(noted, location + ".step", check=True)
    noted.memory.steps[-1] = "no step"  # type: ignore[call-overload]
    refused("a str is not a step", noted, location + ".step-2")
    save_more(location)


CODE = """
import math, re
pattern = re.compile("a")
total, nothing, seen = 5, None, {1, 2}
report = outer(task="help")
final_answer(total)
"""


def save_more(location: str) -> None:
    """Saves what an agent has in addition to its own steps and state."""
    asked = managing(CODE)
    asked.run("work", additional_args={"document": ["the text"]})
    outer = asked.managed_agents["outer"]
    outer.managed_agents["inner"].state["found"] = AgentText("it")
    outer.memory.note = "check this"
    picture = PIL.Image.effect_noise((64, 64), 90)
    error = AgentExecutionError("failed", asked.logger)
    error.attempts = 3
    for _ in range(20):
        step = ActionStep(step_number=1, timing=Timing(1.0, 2.0), observations_images=[picture], error=error)
        step.seen_by = {"who": ("Ada",)}
        asked.memory.steps.append(step)
    asked.state["picture"] = AgentImage(picture)
    saved = persist.snapshot(asked, location + ".managing", check=True)
    assert saved.uncompressed_size < 100_000, saved.uncompressed_size
    persist.snapshot(asked.memory, location + ".memory", check=True)
    for mode in ("I;16B", "CMYK"):
        asked.state["picture"] = PIL.Image.new(mode, (1, 1))
        refused_for(f"of mode {mode}", asked, location)
    del asked.state["picture"]
    asked.memory.steps[-1].error = OddError("odd", asked.logger)
    refused_for("OddError", asked, location)
    outer.managed_agents["asked"] = asked
    refused_for("manages itself", asked, location)


def restore_more(location: str) -> None:
    asked = persist.restore(location + ".managing", into=managing())
    outer = asked.managed_agents["outer"]
    assert [type(step).__name__ for step in outer.memory.steps] == ["TaskStep", "ActionStep"]
    assert outer.memory.note == "check this"
    found = outer.managed_agents["inner"].state["found"]
    assert type(found) is AgentText
    assert found == "it"
    variables = asked.python_executor.state
    assert {name: variables[name] for name in ("total", "nothing", "seen")} == {
        "total": 5,
        "nothing": None,
        "seen": {1, 2},
    }
    assert "math" not in variables
    assert "pattern" not in variables
    assert asked.state["document"] == ["the text"]
    assert asked.monitor.get_total_token_counts() == TokenUsage(7, 3)
    assert len(asked.monitor.step_durations) == 1
    assert (asked.task or "").startswith("work\n")
    assert asked.step_number == 2
    steps = asked.memory.steps[-20:]
    assert all(step.error.attempts == 3 and step.seen_by == {"who": ("Ada",)} for step in steps)
    (picture,) = {id(step.observations_images[0]): step.observations_images[0] for step in steps}.values()
    assert (picture.mode, picture.size) == ("L", (64, 64))
    assert type(asked.state["picture"]) is AgentImage
    assert asked.state["picture"].to_raw() is picture
    data = persist.restore(location + ".managing")
    assert data[-1]["observations_images"][0]["png"].startswith(b"\x89PNG")
    kept = agent().memory
    persist.restore(location + ".memory", into=kept)
    assert len(kept.steps) == len(asked.memory.steps)
    misfit("create the agent as before, with its managed_agents", location + ".managing", agent())
    without = ToolCallingAgent([], Told(), verbosity_level=0)
    misfit("with a local interpreter, or into the agent's memory", location + ".managing", without)


def misfit(hint: str, location: str, into: Any) -> None:
    with raises(persist.PersistConfigurationError, hint=hint):
        persist.restore(location, into=into)
    assert not into.memory.steps
    assert not into.state


def refused_for(says: str, agent: Any, location: str) -> None:
    with raises(persist.PersistTypeError, says):
        persist.snapshot(agent, location + ".odd")


def refused(says: str, agent: Any, location: str) -> None:
    try:
        persist.snapshot(agent, location)
    except persist.PersistTypeError as error:
        assert says.rpartition(".")[2] in str(error), error
        assert "at state['steps'][" in str(error), error
    else:
        raise AssertionError(says)


def restore(location: str) -> None:
    steps = persist.restore(location)
    assert [step["class"] for step in steps] == ["TaskStep", "ActionStep", "TaskStep", "ActionStep"]
    asked = persist.restore(location, into=agent())
    check(asked.run(THIRD, reset=False))
    persist.register(Color)
    noted = Noting(tools=[], model=Told(), verbosity_level=0)
    noted.state["old"] = 1
    persist.restore(location + ".noted", into=noted)
    assert noted.state == {"document": "the text to work on"}
    assert noted.notes == ["call back on Monday"]
    assert [step.action_output for step in noted.memory.steps] == [Color.RED, None]
    persist.register(Remark)
    persist.restore(location + ".step", into=noted)
    assert noted.memory.steps[-1] == Remark("check this")
    crafted()
    restore_more(location)


def crafted() -> None:
    """Checks that an invalid image is an integrity error, whatever its decoder raises."""
    memory = agent().memory
    memory.steps.append(ActionStep(1, Timing(1.0, 2.0), observations_images=[PIL.Image.new("L", (9, 9))]))
    persist.snapshot(memory, "memory://crafted/x")
    place, key = persist._persist.locate("memory://crafted/x", {})
    state = json.loads(persist.Store("memory://crafted").load_bytes("x"))
    extra = '{"value_encoding": 1, "adapter": {"name": "smolagents", "version": "1", "type": "x"}}'
    good = persist.restore("memory://crafted/x", plain=True)["pictures"][0]
    for bad in (b"no picture", good[:-20], good[:50] + b"damaged" + good[57:]):
        persist.snapshot([bad], "memory://crafted/bytes")
        state["pictures"] = json.loads(persist.Store("memory://crafted").load_bytes("bytes"))
        place.save_bytes(key, json.dumps(state).encode(), {"content_type": "application/json", "extra": extra})
        into = agent().memory
        try:
            persist.restore("memory://crafted/x", into=into)
        except persist.PersistIntegrityError as error:
            assert "not a valid PNG" in str(error), error
            assert into.steps == []
        else:
            raise AssertionError(bad)


if __name__ == "__main__":
    main(save, restore)

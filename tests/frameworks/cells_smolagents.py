"""smolagents' row of the matrix."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

import persist
import PIL.Image
from cells import MANY, PICTURE, Cell, main, told
from smolagents import ChatMessage, CodeAgent, MessageRole, Model, MultiStepAgent, ToolCallingAgent, tool
from smolagents.agent_types import AgentImage
from smolagents.memory import ActionStep, TaskStep
from smolagents.models import ChatMessageToolCall, ChatMessageToolCallFunction
from smolagents.monitoring import Timing, TokenUsage
from smolagents.utils import AgentError, AgentExecutionError

NEW = ("timing",)
"""The fields that differ in each step."""

HEARD: list[Any] = []
"""What the models were told, call by call."""

PAID: list[str] = []
"""The payments of this process."""

WRITES = {
    "Look it up": [
        "found, nothing = look_up('Turin'), None\nprint(found)",
        "report = helper(task='Describe Turin')\nprint(report)",
    ],
    "Was it warm?": ["final_answer([found['degrees'], report, nothing])"],
    "Pay": ["price = {'euros': 12.5, 'for': {'Turin', 7}}\nprint(price)"],
    "Yes, do": ["print(pay('Turin', price['euros']))"],
    "Go home": ["final_answer(home)"],
    "Where was I?": ["final_answer([home.name, home.at])"],
}
"""The code that the model writes for a task, step by step."""


def plain(value: Any) -> Any:
    """Returns the content of smolagents' steps as plain values."""
    if isinstance(value, AgentImage):
        return ["AgentImage", plain(value.to_raw())]
    if isinstance(value, PIL.Image.Image):
        return ["Image", value.mode, value.size, value.tobytes(), value.getpalette()]
    if isinstance(value, enum.Enum):
        return [type(value).__name__, value.value]
    if isinstance(value, AgentError):
        return [type(value).__name__, value.args, plain(vars(value))]
    if dataclasses.is_dataclass(value):
        return [type(value).__name__, plain(vars(value))]
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return [type(value).__name__, *sorted(map(repr, value))]
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value)
    return value


class Listening(Model):
    """A model that writes the code for its task, or says how many messages it heard. If it has
    tools, it calls each of them once.
    """

    def generate(self, messages: list[ChatMessage], tools_to_call_from: Any = (), **others: Any) -> ChatMessage:
        HEARD.append(told(plain([messages, others])))
        answer, usage = f"I heard {len(messages)} messages", TokenUsage(len(messages), 1)
        texts = [said.content[0].get("text", "") for said in messages if isinstance(said.content, list)]
        tasks = [at for at, text in enumerate(texts) if text.startswith("New task:\n")]
        if "<end_plan>" in others["stop_sequences"]:
            return ChatMessage(MessageRole.ASSISTANT, f"I plan. {answer}", token_usage=usage)
        done = sum(text.startswith("I know.") for text in texts[tasks[-1] :])
        if tools_to_call_from:
            name = [tool.name for tool in tools_to_call_from][done]
            arguments: Any = {"answer": answer} if name == "final_answer" else {"city": "Turin"}
            called = ChatMessageToolCall(ChatMessageToolCallFunction(arguments, name), f"call {done}", "function")
            return ChatMessage(MessageRole.ASSISTANT, "I know.", [called], token_usage=usage)
        codes = WRITES.get(texts[tasks[-1]].removeprefix("New task:\n").partition("\n")[0], [])
        code = codes[done] if done < len(codes) else f"final_answer({answer!r})"
        return ChatMessage(MessageRole.ASSISTANT, f"I know.\n<code>\n{code}\n</code>", token_usage=usage)


@tool
def look_up(city: str) -> dict:
    """A tool that finds something.

    Args:
        city: Where.
    """
    return {"city": city, "degrees": 21.5, "wind": None}


@tool
def pay(city: str, euros: float) -> str:
    """A tool that a person has to approve.

    Args:
        city: Where.
        euros: How much.
    """
    PAID.append(city)
    return f"paid {euros} in {city}"


@persist.register
@dataclasses.dataclass
class Place:
    name: str
    at: tuple[float, float]


class Travelling(CodeAgent):
    """The program's own agent, which remembers places."""

    def __init__(self) -> None:
        super().__init__(tools=[], model=Listening(), verbosity_level=-1)
        self.places: dict[str, Place] = {}


def agent(**options: Any) -> CodeAgent:
    return CodeAgent(**{"tools": [], "model": Listening(), "verbosity_level": -1, **options})


def managing() -> CodeAgent:
    """Makes an agent with a tool and a managed agent, which calls tools of its own."""
    helper = ToolCallingAgent([look_up], Listening(), name="helper", description="Describes.", verbosity_level=-1)
    return agent(tools=[look_up], managed_agents=[helper], planning_interval=2)


def paying() -> CodeAgent:
    return agent(tools=[pay], step_callbacks=[ask])


def ask(step: ActionStep, agent: CodeAgent) -> None:
    """Stops a run until a person has approved."""
    if agent.task == "Pay":
        step.asked = {"who": "Ada"}
        agent.interrupt()


def held(asked: MultiStepAgent) -> Any:
    """Returns everything that an agent and the agents that it manages hold."""
    variables = asked.python_executor.state if isinstance(asked, CodeAgent) else {}
    names = [name for name in sorted(variables) if not name.startswith("_") and name not in asked.state]
    own = plain(
        [
            asked.memory.system_prompt,
            getattr(asked.memory, "noted", None),
            asked.memory.steps,
            asked.state,
            [
                asked.task,
                asked.step_number,
                vars(asked.monitor)["step_durations"],
                asked.monitor.get_total_token_counts(),
            ],
            {name: variables[name] for name in names},
            getattr(asked, "places", None),
        ]
    )
    return [told(own), *(held(helper) for helper in asked.managed_agents.values())]


def go_on(asked: MultiStepAgent, task: str = "And now?") -> Any:
    before, known = held(asked), len(asked.memory.steps)
    HEARD.clear()
    answer = asked.run(task, reset=False)
    new = [asked.memory.steps[known:], asked.state, asked.monitor.get_total_token_counts(), str(answer), PAID]
    return [before, HEARD, told(plain(new), NEW)]


def asked_twice() -> CodeAgent:
    asked = agent()
    asked.run("Hello")
    asked.run("I live in Turin", reset=False, additional_args={"since": (1999, None)})
    asked.memory.noted = {"who": ("Ada", None)}
    return asked


def called() -> CodeAgent:
    asked = managing()
    asked.run("Look it up")
    assert asked.managed_agents["helper"].memory.steps
    return asked


def waiting() -> CodeAgent:
    asked = paying()
    with contextlib.suppress(AgentError):  # smolagents raises it for an interrupted run.
        asked.run("Pay")
    assert len(asked.memory.steps) == 2
    return asked


def allow(asked: CodeAgent) -> Any:
    assert not PAID
    came_to = go_on(asked, "Yes, do")
    assert PAID == ["Turin"]
    return came_to


def looking() -> CodeAgent:
    return agent(step_callbacks=[look])


def look(step: ActionStep) -> None:
    """Lets a step see the same images as before, and a new one."""
    step.observations_images = [*(step.observations_images or []), PIL.Image.frombytes("L", (32, 32), PICTURE)]


def seen() -> CodeAgent:
    pictures = [PIL.Image.frombytes("RGBA", (16, 16), PICTURE), PIL.Image.frombytes("P", (32, 32), PICTURE)]
    pictures[1].putpalette(PICTURE[:768])
    asked = looking()
    asked.run("What is this?", images=pictures)
    asked.state["picture"] = AgentImage(pictures[1])
    return asked


def travelling() -> Travelling:
    asked = Travelling()
    asked.run("Go home", additional_args={"home": Place("Turin", (45.07, 7.69))})
    asked.places["office"] = Place("Milan", (45.46, 9.19))
    asked.memory.steps[-1].noted = asked.places["office"]
    return asked


def many() -> CodeAgent:
    asked = agent()
    for number in range(MANY // 2):
        said = ChatMessage(MessageRole.ASSISTANT, f"answer {number}", token_usage=TokenUsage(number, 1))
        asked.memory.steps += [
            TaskStep(f"question {number}"),
            ActionStep(
                number, Timing(number, number + 0.5), model_output=f"answer {number}", model_output_message=said
            ),
        ]
    failed = AgentExecutionError("failed", asked.logger)
    failed.attempts = 3
    asked.memory.steps.append(ActionStep(MANY, Timing(1.0, 2.0), error=failed))
    return asked


ROW = {
    "plain": Cell(asked_twice, go_on, into=agent),
    "tool call": Cell(
        called,
        lambda asked: go_on(asked, "Was it warm?"),
        into=managing,
        note="with the interpreter's variables, except functions, classes and modules",
    ),
    "approval": Cell(waiting, allow, into=paying, note="for a run that interrupt() stopped"),
    "multi-modal": Cell(seen, go_on, into=looking),
    "custom class": Cell(travelling, lambda asked: go_on(asked, "Where was I?"), into=Travelling),
    "5,000 messages": Cell(many, go_on, into=agent),
}

if __name__ == "__main__":
    main(ROW)

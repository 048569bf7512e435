"""LangChain with autosave: the program has the messages, and saves after each answer."""

from __future__ import annotations

import persist
from blocks import CrashError, program
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import BaseMessage, HumanMessage
from turns import FIRST, SECOND, THIRD, check
from with_langchain import Told


def ask(messages: list[BaseMessage], text: str) -> str:
    told = Told()
    told.messages = messages
    messages.append(HumanMessage(text))
    messages.append(GenericFakeChatModel(messages=told).invoke(messages))
    return str(messages[-1].content)


def crash(timeline: persist.Timeline) -> None:
    messages: list[BaseMessage] = []
    with persist.autosave(messages, timeline) as saver:
        ask(messages, FIRST)
        saver.save()
        ask(messages, SECOND)
        raise CrashError


def go_on(timeline: persist.Timeline) -> None:
    check(ask(timeline.load(), THIRD))


if __name__ == "__main__":
    program(crash, go_on, (len, [2, 4]))

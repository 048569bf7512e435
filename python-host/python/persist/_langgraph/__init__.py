"""A checkpointer for LangGraph; see :mod:`persist.langgraph`."""

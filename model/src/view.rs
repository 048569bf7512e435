//! What people are shown of a state that a framework's adapter stores in a form of its own.

use crate::diff::Change;

/// The media type of LangGraph's checkpoints, as the Python package stores them.
const LANGGRAPH: &str = "application/vnd.persist.langgraph+json";

/// Where such a checkpoint has the values of its channels.
const CHANNELS: &str = "/channel_values";

/// What people are shown of a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// All of it.
    #[default]
    Whole,
    /// The channels of a graph, without those that only say which nodes are next.
    Channels,
}

impl View {
    /// Returns the view of two states, by their media types.
    pub fn of(one: &str, other: &str) -> Self {
        if one == LANGGRAPH && other == LANGGRAPH { Self::Channels } else { Self::Whole }
    }

    /// Returns a change as it is shown; `None` if it is not.
    pub fn shown(self, change: Change) -> Option<Change> {
        if self == Self::Whole {
            return Some(change);
        }
        let path = change.path.strip_prefix(CHANNELS)?;
        let channel = path.strip_prefix('/').unwrap_or_default();
        let is_internal = channel.starts_with("branch:to:") || channel.starts_with("__");
        (!is_internal && (path.is_empty() || path.starts_with('/'))).then(|| Change { path: path.to_owned(), ..change })
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, LANGGRAPH, View};
    use crate::Operation;

    #[test]
    fn of_a_graph_only_its_channels_are_shown() {
        let shown = |view: View, path: &str| {
            let change = Change { operation: Operation::Add, path: path.to_owned(), before: None, after: None };
            view.shown(change).map(|change| change.path)
        };
        let view = View::of(LANGGRAPH, LANGGRAPH);
        for (path, expected) in [
            ("/channel_values/messages/3", Some("/messages/3")),
            ("/channel_values/", Some("/")),
            ("/channel_values", Some("")),
            ("/channel_values/branch:to:agent", None),
            ("/channel_values/__start__", None),
            ("/channel_valuesx", None),
            ("/checkpoint/id", None),
            ("/id", None),
        ] {
            assert_eq!(shown(view, path).as_deref(), expected, "{path}");
            assert_eq!(shown(View::of(LANGGRAPH, "application/json"), path).as_deref(), Some(path));
        }
    }
}

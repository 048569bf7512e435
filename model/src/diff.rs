//! The types of differences between two states.

use serde::Serialize;

/// How two states are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiffKind {
    /// They have the same bytes.
    Equal,
    /// Both are JSON. They may have equal values all the same.
    Json,
    /// Both are text in UTF-8, but not both are JSON.
    Text,
    /// Anything else.
    Binary,
}

impl DiffKind {
    /// Returns its name in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Json => "json",
            Self::Text => "text",
            Self::Binary => "binary",
        }
    }
}

/// What happened to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// It is only in the second state.
    Add,
    /// It is only in the first state.
    Remove,
    /// There is another value in its place.
    Replace,
}

impl Operation {
    /// Returns its name in JSON Patch (RFC 6902).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Replace => "replace",
        }
    }
}

/// A value, as JSON without white space.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Excerpt {
    /// All of it, or its beginning if it is longer than 200 bytes.
    pub text: String,
    /// Whether `text` is only the beginning.
    pub is_cut: bool,
    /// The bytes that the value takes in its state.
    pub size: u64,
}

impl Excerpt {
    /// Returns the text of a value that takes `size` bytes, or its beginning.
    #[must_use]
    pub const fn new(text: String, is_cut: bool, size: u64) -> Self {
        Self { text, is_cut, size }
    }
}

/// A difference between two JSON states.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// What happened to the value.
    pub operation: Operation,
    /// Where it is, as a JSON Pointer (RFC 6901); empty for the whole state. Positions in
    /// arrays are those in the second state; for the value itself, if it was removed, its
    /// position in the first.
    pub path: String,
    /// The value in the first state.
    pub before: Option<Excerpt>,
    /// The value in the second state.
    pub after: Option<Excerpt>,
}

impl Change {
    /// Returns what happened to the value at a path, and the value before and after.
    pub fn new(operation: Operation, path: String, before: Option<Excerpt>, after: Option<Excerpt>) -> Self {
        Self { operation, path, before, after }
    }
}

/// What changed, in one line: `+2 messages, ~agent/temperature`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeSummary {
    /// What happened, where, whether to elements of an array, and how often, in the order of
    /// the changes.
    groups: Vec<(Operation, String, bool, u64)>,
}

/// How many groups a summary shows.
const SHOWN: usize = 3;

/// How many groups a summary tells apart.
const MAX_GROUPS: usize = 100;

impl ChangeSummary {
    /// Adds a change.
    pub fn add(&mut self, change: &Change) {
        let (parent, last) = change.path.rsplit_once('/').unwrap_or(("", ""));
        let is_element = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
        let is_grouped = is_element && change.operation != Operation::Replace;
        let path = if is_grouped { parent } else { &change.path };
        let is_full = self.groups.len() == MAX_GROUPS;
        let known = |(operation, of, ..): &(Operation, String, bool, u64)| *operation == change.operation && of == path;
        match self.groups.iter().position(known).or(is_full.then_some(MAX_GROUPS - 1)).and_then(|index| self.groups.get_mut(index)) {
            Some(known) => known.3 += 1,
            None => self.groups.push((change.operation, path.to_owned(), is_grouped, 1)),
        }
    }

    /// Returns whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

impl std::fmt::Display for ChangeSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (operation, path, is_grouped, count)) in self.groups.iter().take(SHOWN).enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            f.write_str(match operation {
                Operation::Add => "+",
                Operation::Remove => "-",
                Operation::Replace => "~",
            })?;
            let name = match path.strip_prefix('/') {
                // The state itself, or all of an array.
                None if *is_grouped => "elements",
                None => "everything",
                Some("") => "\"\"",
                Some(name) => name,
            };
            if *is_grouped {
                let name = name.rsplit('/').next().unwrap_or(name);
                let name = if *count == 1 { name.strip_suffix('s').unwrap_or(name) } else { name };
                write!(f, "{count} {}", unescaped(name))?;
            } else {
                f.write_str(&unescaped(name))?;
            }
        }
        match self.groups.iter().skip(SHOWN).map(|(.., count)| count).sum::<u64>() {
            0 => Ok(()),
            1 => f.write_str(", 1 more change"),
            more => write!(f, ", {more} more changes"),
        }
    }
}

/// Makes a part of a JSON Pointer readable, on one line.
fn unescaped(name: &str) -> String {
    name.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

#[cfg(test)]
mod tests {
    use super::{Change, ChangeSummary, Operation};

    fn summary(changes: &[(Operation, &str)]) -> String {
        let mut summary = ChangeSummary::default();
        for (operation, path) in changes {
            summary.add(&Change { operation: *operation, path: (*path).to_owned(), before: None, after: None });
        }
        summary.to_string()
    }

    #[test]
    fn elements_are_counted_by_array() {
        let added = [(Operation::Add, "/messages/4"), (Operation::Add, "/messages/5"), (Operation::Replace, "/agent/temperature")];
        assert_eq!(summary(&added), "+2 messages, ~agent/temperature");
        assert_eq!(summary(&[(Operation::Add, "/messages/4")]), "+1 message");
        assert_eq!(summary(&[(Operation::Remove, "/agent/tools/0")]), "-1 tool");
        assert_eq!(summary(&[(Operation::Add, "/3"), (Operation::Add, "/4")]), "+2 elements");
        assert_eq!(summary(&[(Operation::Add, "/3"), (Operation::Replace, "/0"), (Operation::Replace, "/")]), "+1 element, ~0, ~\"\"");
    }

    #[test]
    fn a_summary_is_short() {
        let many: Vec<String> = (0..150).map(|index| format!("/name{index}")).collect();
        let many: Vec<_> = many.iter().map(|path| (Operation::Add, path.as_str())).collect();
        assert_eq!(summary(&many), "+name0, +name1, +name2, 147 more changes");
        assert_eq!(summary(&[(Operation::Replace, "")]), "~everything");
        assert_eq!(summary(&[]), "");
    }
}

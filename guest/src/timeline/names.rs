//! The keys of a timeline's objects, whose names are those of `persist_paths::timeline`.

pub use persist_paths::timeline::step_of;
use persist_paths::timeline::{HINT, hidden_name, parse, step_name};
pub(crate) use persist_paths::timeline::{MAX_NUMBER, Name};
use sha2::{Digest, Sha256};

use crate::hash::hex;

/// The folder of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Folder {
    /// The beginning of all keys, with `/` at its end.
    prefix: String,
}

impl Folder {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    fn numbered(&self, number: u64, ending: &str) -> String {
        format!("{}{number:012}.{ending}", self.prefix)
    }

    pub(crate) fn step(&self, number: u64) -> String {
        format!("{}{}", self.prefix, step_name(number))
    }

    pub(crate) fn hidden(&self, number: u64) -> String {
        format!("{}{}", self.prefix, hidden_name(number))
    }

    /// The key of a label. A name may have any characters, so its hash is in the key.
    pub(crate) fn label(&self, number: u64, name: &str) -> String {
        let hash = Sha256::digest(name);
        self.numbered(number, &format!("{}.label", hex(hash.get(..8).unwrap_or_default())))
    }

    /// The beginning of the keys of everything that belongs to a step.
    pub(crate) fn labels(&self, number: u64) -> String {
        format!("{}{number:012}.", self.prefix)
    }

    pub(crate) fn catalogue(&self, number: u64) -> String {
        self.numbered(number, "catalogue")
    }

    pub(crate) fn hint(&self) -> String {
        format!("{}{HINT}", self.prefix)
    }

    /// Returns the key after which a listing has everything about step `number` and the
    /// later ones.
    pub(crate) fn before(&self, number: u64) -> String {
        // Nothing that belongs to a step comes before its number, and '~' after all of the
        // step before.
        format!("{}{:012}~", self.prefix, number.saturating_sub(1))
    }

    /// Returns what an object is; `None` if it does not belong to the timeline.
    pub(crate) fn parse(&self, key: &str) -> Option<Name> {
        parse(key.strip_prefix(&self.prefix)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_parsed_and_nothing_else() {
        let folder = Folder::new("a/b/");
        for (key, name) in [
            (folder.step(1), Name::Step(1)),
            (folder.step(MAX_NUMBER), Name::Step(MAX_NUMBER)),
            (folder.hidden(42), Name::Hidden(42)),
            (folder.label(42, "any/name \u{1f600}"), Name::Label(42)),
            (folder.catalogue(256), Name::Catalogue(256)),
            (folder.hint(), Name::Hint),
        ] {
            assert_eq!(folder.parse(&key), Some(name), "{key}");
        }
        for other in
            ["a/000000000001.step", "a/b/1.step", "a/b/000000000000.step", "a/b/000000000001.json.gz", "a/b/000000000001.000000000002.gap"]
        {
            assert_eq!(folder.parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_listing_from_a_number_has_all_of_it_and_nothing_of_the_one_before() {
        let folder = Folder::new("t/");
        for key in [folder.step(7), folder.hidden(7), folder.label(7, "x"), folder.catalogue(7)] {
            assert!(key > folder.before(7) && key < folder.before(8), "{key}");
        }
        assert!(folder.hint() > folder.before(MAX_NUMBER));
    }
}

//! Differences that misbehave as the first state tells them to.

use super::Hostile;
use super::bindings::{diffs, wit};
use super::{Handle, behave, opened, refused};

impl diffs::GuestDiff for Handle {
    fn kind(&self) -> diffs::DiffKind {
        diffs::DiffKind::Json
    }

    fn next(&self, _: u32) -> Result<Vec<diffs::Change>, wit::Error> {
        behave(&self.key);
        let excerpt = || Some(diffs::Excerpt { text: "\u{1b}[2J".to_owned(), is_cut: true, size: u64::MAX });
        Ok(vec![diffs::Change { operation: diffs::Operation::Add, path: "\u{202e}".to_owned(), before: excerpt(), after: excerpt() }])
    }

    fn read(&self, max: u32) -> Result<Vec<u8>, wit::Error> {
        behave(&self.key);
        if max == 0 { Err(refused()) } else { Ok(vec![0xff; 64]) }
    }
}

impl diffs::Guest for Hostile {
    type Diff = Handle;

    fn open_diff(before: diffs::Source, _: diffs::Source) -> Result<diffs::Diff, wit::Error> {
        match before {
            diffs::Source::Stored(key) | diffs::Source::Object(key) => Ok(diffs::Diff::new(opened(key))),
            diffs::Source::Bytes(_) => Err(refused()),
        }
    }
}

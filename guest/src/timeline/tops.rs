//! Steps in a listing of snapshots, where the last one that was listed stands for its timeline.

use crate::error::{Error, ErrorCode, Result};
use crate::metadata::Metadata;
use crate::storage::{ObjectInfo, Storage};
use crate::timeline::names::{Folder, step_of};
use crate::timeline::newest::{Newest, find_newest};
use crate::timeline::record::Record;

/// More bytes than a hint has.
const HINT: u64 = 1 << 10;

/// The last step of a folder that was listed.
struct Top {
    folder: String,
    number: u64,
    /// The number that the hint names; 0 if there is none.
    newest: u64,
}

/// The last step of each folder of a listing. Each kind of map adds about 4 KB to the
/// component, and a listing has at most a thousand folders.
#[derive(Default)]
pub(crate) struct Tops(Vec<Top>);

impl Tops {
    /// Finds the last steps. If the listing goes on, the last folder may have more.
    pub(crate) fn of(objects: &[ObjectInfo], is_complete: bool) -> Self {
        let mut tops = Self::default();
        for (folder, number) in objects.iter().filter_map(|info| step_of(&info.key)) {
            match tops.find(folder) {
                Some(top) => top.number = number,
                None => tops.0.push(Top { folder: folder.to_owned(), number, newest: 0 }),
            }
        }
        if let Some((folder, _)) = objects.last().and_then(|info| step_of(&info.key)).filter(|_| !is_complete) {
            tops.0.retain(|top| top.folder != folder);
        }
        tops
    }

    /// The last step of a folder. Usually the folder was listed last.
    fn find(&mut self, folder: &str) -> Option<&mut Top> {
        self.0.iter_mut().rev().find(|top| top.folder == folder)
    }

    /// The step with this key, if it is the last of its folder.
    fn top(&mut self, key: &str) -> Option<&mut Top> {
        let (folder, number) = step_of(key)?;
        self.find(folder).filter(|top| top.number == number)
    }

    /// Reads the hints of the timelines whose last steps these are.
    pub(crate) fn read_hints<S: Storage>(&mut self, storage: &S, keys: &[&str]) -> Result<()> {
        let keys: Vec<&str> = keys.iter().copied().filter(|key| self.top(key).is_some()).collect();
        let hint = |key: &&str| step_of(key).map_or_else(String::new, |(folder, _)| Folder::new(folder).hint());
        let hints: Vec<String> = keys.iter().map(hint).collect();
        if hints.is_empty() {
            return Ok(());
        }
        let read = storage.read_ends(&hints.iter().map(String::as_str).collect::<Vec<_>>(), HINT)?;
        for (key, hint) in keys.into_iter().zip(read) {
            if let Ok((_, bytes)) = hint
                && let Ok(Record::Head { number, .. }) = Record::parse(&bytes)
                && let Some(top) = self.top(key)
            {
                top.newest = number;
            }
        }
        Ok(())
    }

    /// Whether an object is the last of its timeline that was listed, and is not a step, or
    /// not the newest.
    pub(crate) fn is_doubtful(&mut self, key: &str, is_step: bool) -> bool {
        self.top(key).is_some_and(|top| !is_step || top.newest > top.number)
    }
}

/// Returns the metadata of the newest step of the timeline that an object belongs to.
/// `NotFound` if it has none.
pub(crate) fn newest_metadata<S: Storage>(storage: &S, key: &str) -> Result<Metadata> {
    let folder = step_of(key).map_or("", |(folder, _)| folder);
    match find_newest(storage, &Folder::new(folder))? {
        Newest::Step(step) => Ok(step.metadata()),
        Newest::Damaged { error, .. } => Err(error),
        Newest::Nothing | Newest::End { .. } | Newest::Gap { .. } => {
            Err(Error::new(ErrorCode::NotFound, "the timeline was deleted").at(folder))
        }
    }
}

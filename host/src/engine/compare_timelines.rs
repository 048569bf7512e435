//! Compares a timeline with what is at the place of its copy.

use persist_model::{ErrorCode, PersistError, Precondition, Result, StepSelector};
use persist_paths::timeline::{END_SIZE, GAP_SIZE, is_step_size, step_name};
use sha2::{Digest as _, Sha256};

use crate::engine::timeline::Timeline;
use crate::engine::timeline_objects::{Objects, Place};
use crate::storage::{ByteRange, StorageReader};

/// How much of an object is read at a time to compare it.
const PART: u32 = 1 << 20;

/// Returns the names of a timeline's damaged objects, and what is wrong with them.
pub(super) fn damaged(timeline: &Timeline) -> Result<Vec<(String, PersistError)>> {
    let mut damaged = Vec::new();
    for checked in timeline.check(true)? {
        let checked = checked?;
        if let Some(error) = checked.error {
            let name = checked.key.strip_prefix(timeline.folder()).unwrap_or(&checked.key);
            damaged.push((name.to_owned(), error));
        }
    }
    Ok(damaged)
}

fn sha256_of(reader: &mut dyn StorageReader) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    loop {
        let part = reader.read(PART)?;
        if part.is_empty() {
            return Ok(hash.finalize().into());
        }
        hash.update(part);
    }
}

/// Whether a number has the same object in both, or the source has what has taken its place. None if
/// the source no longer tells.
pub(super) fn is_same(from: Place<'_>, to: Place<'_>, number: u64, timeline: &Timeline) -> Result<Option<bool>> {
    let name = step_name(number);
    let (Some(theirs), Some(ours)) = (from.end_of(&name)?, to.end_of(&name)?) else { return Ok(None) };
    if theirs == ours {
        return Ok(Some(true));
    }
    if theirs.0 == GAP_SIZE {
        return Ok(None);
    }
    if is_step_size(theirs.0) || !is_step_size(ours.0) {
        return Ok(Some(false));
    }
    // What has taken the place of a step has its root.
    let root = timeline.find(&StepSelector::Number(number))?.metadata.root;
    Ok(Some(!root.is_empty() && String::from_utf8_lossy(&theirs.1).contains(&format!("\"{root}\""))))
}

/// Checks that what is at the target is an earlier copy of the source, or nothing.
pub(super) fn check_target(
    from: Place<'_>,
    to: Place<'_>,
    (source, target): (&Objects, &Objects),
    newest: u64,
    timeline: &Timeline,
) -> Result<()> {
    let last = target.last();
    let refused = |what: &str| {
        let error = PersistError::new(ErrorCode::AlreadyExists, what.to_owned()).at(to.location());
        Err(error.hint("copy to another folder"))
    };
    if last == 0 {
        return Ok(());
    }
    if last > newest {
        let has_steps = target.numbers.keys().any(|number| target.has_step(*number));
        let what = if has_steps { "the timeline here has later steps than the one to copy" } else { "a timeline was deleted here" };
        return refused(what);
    }
    match is_same(from, to, last, timeline)? {
        Some(true) => {}
        Some(false) => return refused(&format!("a different timeline is already here: step {last} differs")),
        None => return refused("the copy here ends with a step that was pruned from the timeline long ago"),
    }
    let has_ended = source.numbers.range(last.saturating_add(1)..).any(|(_, info)| info.size == END_SIZE);
    if has_ended && target.numbers.keys().any(|number| target.has_step(*number)) {
        return refused("the timeline has been deleted since it was copied, and has begun again");
    }
    Ok(())
}

/// Compares an object of a copy with that of its source. If they are different, returns the
/// condition for replacing it: that nobody else has done so.
pub(super) fn different(from: Place<'_>, to: Place<'_>, name: &str) -> Result<Option<Precondition>> {
    let open = |place: Place<'_>| match place.open(name, ByteRange::All) {
        Ok(reader) => Ok(Some(reader)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let Some(mut theirs) = open(from)? else { return Ok(None) };
    let Some(mut ours) = open(to)? else { return Ok(Some(Precondition::IfAbsent)) };
    let etag = ours.info().etag.clone();
    let is_same = theirs.info().size == ours.info().size && sha256_of(&mut *theirs)? == sha256_of(&mut *ours)?;
    Ok((!is_same).then(|| etag.map_or(Precondition::None, Precondition::IfMatch)))
}

//! The names of a timeline's objects. All begin with a number in twelve digits, except the
//! hint, so that a listing from a number on has everything about the later steps.

use std::collections::BTreeMap;

/// The highest number of a step: twelve digits.
pub const MAX_NUMBER: u64 = 999_999_999_999;

/// The size in bytes of what takes the place of a step that was removed.
pub const MARKER_SIZE: u64 = 192;

/// The size of the end of a timeline that was deleted.
pub const END_SIZE: u64 = 200;

/// The size of what takes the place of the first of several numbers that were removed.
pub const GAP_SIZE: u64 = 208;

/// Returns whether an object with the name of a step is one, by its size in bytes, so that a
/// listing tells. Whole steps are larger than all that may take their place. Any other size is
/// that of a step that was cut, or whose size the listing could not find out.
pub fn is_step_size(size: u64) -> bool {
    !matches!(size, MARKER_SIZE | END_SIZE | GAP_SIZE)
}

/// The name of the hint.
pub const HINT: &str = "head";

/// What an object of a timeline is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// A step, or what has taken its place: a marker, the end, or a gap.
    Step(u64),
    /// Says that a step is hidden.
    Hidden(u64),
    /// A label that was set after the step was appended.
    Label(u64),
    /// The documents of the steps up to this one.
    Catalogue(u64),
    /// A number near that of the newest step.
    Hint,
}

/// Returns what an object is, by its name in the folder; `None` if it does not belong to a
/// timeline.
pub fn parse(name: &str) -> Option<Name> {
    if name == HINT {
        return Some(Name::Hint);
    }
    let (number, rest) = take_number(name)?;
    match rest {
        ".step" => Some(Name::Step(number)),
        ".hidden" => Some(Name::Hidden(number)),
        ".catalogue" => Some(Name::Catalogue(number)),
        _ if rest.ends_with(".label") => Some(Name::Label(number)),
        _ => None,
    }
}

/// Returns the folder and the number of the step that a key names, if it names one.
pub fn step_of(key: &str) -> Option<(&str, u64)> {
    let (folder, name) = key.split_at_checked(key.rfind('/').map_or(0, |slash| slash + 1))?;
    match parse(name)? {
        Name::Step(number) => Some((folder, number)),
        _ => None,
    }
}

/// Returns the folders of the timelines of which a deletion that was broken off has left steps,
/// from a listing of keys and sizes.
///
/// # Errors
/// Those of the listing.
pub fn unfinished_deletions<E>(objects: impl IntoIterator<Item = Result<(String, u64), E>>) -> Result<Vec<String>, E> {
    // By folder: the highest number, whether it is an end, and whether there are steps.
    let mut folders: BTreeMap<String, (u64, bool, bool)> = BTreeMap::new();
    for object in objects {
        let (key, size) = object?;
        let Some((folder, number)) = step_of(&key) else { continue };
        let known = folders.entry(folder.to_owned()).or_default();
        if number > known.0 {
            (known.0, known.1) = (number, size == END_SIZE);
        }
        known.2 |= is_step_size(size);
    }
    Ok(folders.into_iter().filter(|(_, (_, is_end, has_steps))| *is_end && *has_steps).map(|(folder, _)| folder).collect())
}

/// Returns whether only a timeline may write an object with this key: its name is that of a step,
/// or of what belongs to one. Of `head` that depends on what else is in the folder.
pub fn is_reserved(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or(key);
    !matches!(parse(name), None | Some(Name::Hint))
}

/// Returns whether a key names a step.
pub fn is_step(key: &str) -> bool {
    step_of(key).is_some()
}

/// Advice for a step that can't be read.
pub const STEP_ADVICE: &str = "other steps may be undamaged: 'persist check' says which";

/// Returns the name of a step.
pub fn step_name(number: u64) -> String {
    format!("{number:012}.step")
}

/// Returns the name of what says that a step is hidden.
pub fn hidden_name(number: u64) -> String {
    format!("{number:012}.hidden")
}

/// Takes the twelve digits of a number from the front.
fn take_number(name: &str) -> Option<(u64, &str)> {
    let (digits, rest) = name.split_at_checked(12)?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| digits.parse().ok()).flatten().filter(|number| *number > 0)?;
    Some((number, rest))
}

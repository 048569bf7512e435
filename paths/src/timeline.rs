//! The names of a timeline's objects. All begin with a number in twelve digits, except the
//! hint, so that a listing from a number on has everything about the later steps.

/// The highest number of a step: twelve digits.
pub const MAX_NUMBER: u64 = 999_999_999_999;

/// The size in bytes of what takes the place of a step that was removed, and of the end of a
/// timeline that was deleted. Every step has more.
pub const MARKER_SIZE: u64 = 192;

/// The name of the hint.
pub const HINT: &str = "head";

/// What an object of a timeline is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// A step, or what has taken its place: a marker, or the end.
    Step(u64),
    /// Says that a step is hidden.
    Hidden(u64),
    /// A label that was set after the step was appended.
    Label(u64),
    /// The documents of the steps up to this one.
    Catalogue(u64),
    /// Says that the numbers from the first to the last were removed.
    Gap(u64, u64),
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
        _ => {
            // The last number comes first, so that a listing from any number in it has it.
            let (first, rest) = take_number(rest.strip_prefix('.')?)?;
            (rest == ".gap" && first <= number).then_some(Name::Gap(first, number))
        }
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

/// Returns whether a key names a step.
pub fn is_step(key: &str) -> bool {
    step_of(key).is_some()
}

/// Returns the name of a step.
pub fn step_name(number: u64) -> String {
    format!("{number:012}.step")
}

/// Takes the twelve digits of a number from the front.
fn take_number(name: &str) -> Option<(u64, &str)> {
    let (digits, rest) = name.split_at_checked(12)?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| digits.parse().ok()).flatten().filter(|number| *number > 0)?;
    Some((number, rest))
}

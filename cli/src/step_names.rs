//! Names that belong to timelines, or would be taken for their steps.

use std::path::Path;
use std::time::SystemTime;

use persist_model::{ErrorCode, PersistError, Result, StepSelector};
use persist_paths::StorageLocation;
use persist_paths::timeline::{HINT, is_step, is_step_size};

use crate::host::Host;

/// Returns the name of the state of a step among others: `case-1.42`. It does not look like a
/// step, which would be `case-1@42`. `timeline` is its folder, as it was found; if that is empty,
/// the step's location has it.
pub(crate) fn step_name(timeline: &str, step: &StorageLocation, number: u64) -> String {
    let location = step.to_string();
    let (folder, _) = location.rsplit_once('/').unwrap_or((".", ""));
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    match timeline.trim_end_matches('/') {
        // Of `.`, the name has to be looked up.
        "" => {
            let found = name(Path::new(folder)).or_else(|| name(&Path::new(folder).canonicalize().ok()?));
            // `memory:` is no name.
            let found = found.filter(|name| !name.ends_with(':'));
            format!("{}.{number}", found.unwrap_or_else(|| "timeline".to_owned()))
        }
        timeline => format!("{timeline}.{number}"),
    }
}

/// Which parts of a path may not look like a step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Only the name at the end. The folders were named before, or have the names of IDs.
    #[cfg_attr(not(feature = "native"), allow(dead_code, reason = "only a copy has such names"))]
    Name,
    /// Also the folders that have to be created.
    Whole,
}

/// Refuses a name for something new that would be taken for a step of a timeline that is there,
/// or would replace what names its newest step. What is there already keeps its name.
///
/// # Errors
/// `InvalidArgument` if it is such a name.
pub(crate) fn check_no_step(host: &impl Host, text: &str) -> Result<()> {
    const HINT: &str = "append to the timeline, or use another name; IDs with an @ are given as --agent and --session";
    check_text(host, text).map_err(|error| error.hint(HINT))
}

/// Checks as [`check_no_step`] does. The caller adds the advice.
///
/// # Errors
/// Those of [`check_no_step`].
pub(crate) fn check_text(host: &impl Host, text: &str) -> Result<()> {
    match host.locate_followed(text.trim_end_matches('/')) {
        Ok(location) => check_location(host, &location, Part::Whole),
        // That is reported when the location is used.
        Err(_) => Ok(()),
    }
}

/// Checks as [`check_text`] does, at a location.
///
/// # Errors
/// Those of [`check_no_step`].
pub(crate) fn check_location(host: &impl Host, location: &StorageLocation, part: Part) -> Result<()> {
    if let StorageLocation::Local { root, key } = location {
        return check_path(&root.join(key), part);
    }
    let text = host.written(location)?;
    let text = text.trim_end_matches('/');
    if let Some((folder, HINT)) = text.rsplit_once('/')
        && is_timeline(host, folder)?
    {
        return Err(is_hint(text));
    }
    match timeline_of(text) {
        // A timeline that was named by its IDs may have such a name.
        Some(timeline) if is_timeline(host, timeline)? && !is_timeline(host, text)? => Err(is_step_of(timeline, text)),
        _ => Ok(()),
    }
}

/// Checks as [`check_text`] does, a path that no setting changes.
///
/// # Errors
/// Those of [`check_no_step`].
pub(crate) fn check_path(path: &Path, part: Part) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.file_name().is_some_and(|name| name == HINT) && has_steps(folder) {
        return Err(is_hint(&path.to_string_lossy()));
    }
    let parts = if part == Part::Whole { usize::MAX } else { 1 };
    for new in path.ancestors().take(parts).take_while(|path| path.symlink_metadata().is_err()) {
        let timeline = new.file_name().and_then(|name| timeline_of(name.to_str()?)).map(|timeline| new.with_file_name(timeline));
        if let Some(timeline) = timeline.filter(|timeline| has_steps(timeline)) {
            return Err(is_step_of(&timeline.to_string_lossy(), &new.to_string_lossy()));
        }
    }
    Ok(())
}

/// Returns the timeline of which a name would select a step, if there is such a timeline.
fn timeline_of(name: &str) -> Option<&str> {
    let (timeline, step) = name.rsplit_once('@')?;
    let is_selector = || !step.contains('/') && StepSelector::parse(step, SystemTime::now()).is_ok();
    (!timeline.is_empty() && !timeline.ends_with('/') && is_selector()).then_some(timeline)
}

/// Returns whether a local folder is a timeline, whole or damaged. Markers of steps that were
/// removed make none.
fn has_steps(folder: &Path) -> bool {
    folder.read_dir().is_ok_and(|entries| {
        let mut steps = entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_step));
        steps.any(|entry| entry.metadata().is_ok_and(|metadata| is_step_size(metadata.len())))
    })
}

/// Returns whether a location is a timeline, whole or damaged, as far as that can be found out.
fn is_timeline(host: &impl Host, text: &str) -> Result<bool> {
    match host.locate_step(text, Some("latest")) {
        Ok(step) => Ok(step.is_some()),
        Err(error) if error.code() == ErrorCode::Cancelled => Err(error),
        Err(error) => Ok(matches!(error.code(), ErrorCode::Integrity | ErrorCode::InvalidFormat | ErrorCode::UnsupportedFormat)),
    }
}

fn is_step_of(timeline: &str, text: &str) -> PersistError {
    let message = format!("this name refers to a step of the timeline {}, and steps never change", timeline.escape_debug());
    PersistError::new(ErrorCode::InvalidArgument, message).at(text.escape_debug())
}

fn is_hint(text: &str) -> PersistError {
    PersistError::new(ErrorCode::InvalidArgument, "this name belongs to the timeline in this folder")
        .at(text.escape_debug())
        .hint("use another name")
}

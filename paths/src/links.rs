//! Following symlinks as a shell does, except that writing does not follow another
//! user's.

use std::path::{Component, Path, PathBuf};

use persist_model::Result;
#[cfg(unix)]
use persist_model::{ErrorCode, PersistError};

/// How many symlinks are followed before they are considered a loop.
pub const MAX_LINKS: usize = 40;

/// Returns the path that a path leads to. A loop of links leads to a link of the loop.
pub(crate) fn followed(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(target) = std::fs::read_link(&path) else { break };
        path = folder_of(&path).join(target);
    }
    path
}

/// Like [`followed`], for writing: refuses links that another user has put into a shared
/// folder.
///
/// # Errors
/// `AccessDenied` for such a link.
pub(crate) fn followed_to_write(path: &Path) -> Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        check_folder_to_write(folder_of(&path))?;
        let Some(target) = target_to_write(&path)? else { break };
        path = folder_of(&path).join(target);
    }
    Ok(path)
}

/// Returns the folder of a path, empty for the current one.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Checks that no link of another user leads to the folder of a file to write.
///
/// # Errors
/// `AccessDenied` for such a link.
pub(crate) fn check_folder_to_write(folder: &Path) -> Result<()> {
    let parts: Vec<Component<'_>> = folder.components().collect();
    // Links before a `..` decide which folder it leads to.
    for (index, _) in parts.iter().enumerate().filter(|(_, part)| **part == Component::ParentDir) {
        check_links_to_write(parts.iter().take(index).collect())?;
    }
    // Collecting the components drops a trailing slash, which would make the check follow
    // the link.
    check_links_to_write(parts.iter().collect())
}

/// Follows the links from a path on, and checks that none belongs to another user.
///
/// # Errors
/// `AccessDenied` for such a link.
fn check_links_to_write(mut path: PathBuf) -> Result<()> {
    for _ in 0..MAX_LINKS {
        let Some(target) = target_to_write(&path)? else { break };
        path = folder_of(&path).join(target).components().collect();
    }
    Ok(())
}

/// Returns the target of a link, or `None` if the path is not a link.
#[cfg(not(unix))]
fn target_to_write(path: &Path) -> Result<Option<PathBuf>> {
    Ok(std::fs::read_link(path).ok())
}

/// Returns the target of a link, or `None` if the path is not a link.
#[cfg(unix)]
fn target_to_write(path: &Path) -> Result<Option<PathBuf>> {
    use std::os::unix::fs::MetadataExt;
    let look = || path.symlink_metadata().ok().filter(std::fs::Metadata::is_symlink);
    let identity = |link: &std::fs::Metadata| (link.dev(), link.ino(), link.ctime(), link.ctime_nsec());
    let refused = |message: &str| {
        let error = PersistError::new(ErrorCode::AccessDenied, message).at(path.display());
        Err(error.hint("give the path that it leads to, if that is what you mean"))
    };
    let Some(before) = look() else { return Ok(None) };
    let me = rustix::process::geteuid().as_raw();
    let is_trusted = |owner: u32| owner == me || owner == 0;
    if !is_trusted(before.uid()) {
        let folder = Some(folder_of(path)).filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // A folder that cannot be checked is not trusted.
        let is_private = |folder: std::fs::Metadata| is_trusted(folder.uid()) && folder.mode() & 0o022 == 0;
        if !folder.metadata().is_ok_and(is_private) {
            return refused("access denied: the link belongs to another user");
        }
    }
    let target = std::fs::read_link(path).ok();
    if look().as_ref().map(identity) != Some(identity(&before)) {
        return refused("access denied: the link was replaced while it was being followed");
    }
    Ok(target)
}

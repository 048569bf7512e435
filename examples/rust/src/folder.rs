//! The files of a folder and its subfolders, as objects in memory.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use persist_example_host::Objects;

/// The ending of the files with restored states, which are no objects.
pub(crate) const RESTORED: &str = ".restored";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Reads the files of a folder and its subfolders. Each is an object, whose key is its path.
pub(crate) fn read_objects(folder: &Path) -> Result<Objects> {
    let mut objects = Objects::new();
    let mut prefixes = vec![String::new()];
    while let Some(prefix) = prefixes.pop() {
        let path = folder.join(&prefix);
        for entry in fs::read_dir(&path).map_err(|error| failed(&path, &error))? {
            let entry = entry?;
            // A symlink is neither a file nor a folder here: it may lead out of this folder.
            let found = entry.file_type()?;
            let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else { continue };
            if found.is_dir() {
                prefixes.push(name + "/");
            } else if found.is_file() && !name.ends_with(RESTORED) {
                objects.insert(name, fs::read(entry.path())?.into());
            }
        }
    }
    Ok(objects)
}

/// Writes to a folder what has changed.
pub(crate) fn write_changes(folder: &Path, before: &Objects, after: &Objects) -> Result<()> {
    if let Some(key) = after.keys().find(|key| key.ends_with(RESTORED)) {
        return Err(format!("'{}' can't be the name of a file here: it would not be read again", key.escape_debug()).into());
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        fs::remove_file(folder.join(key))?;
    }
    for (key, object) in after.iter().filter(|(key, object)| before.get(*key) != Some(*object)) {
        let path = make_folders(folder, key)?;
        write_object(&path, object, before.contains_key(key)).map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

/// Makes the folders that a key is in. Returns the path of its file.
pub(crate) fn make_folders(folder: &Path, key: &str) -> Result<PathBuf> {
    let mut path = folder.to_owned();
    let (parents, name) = key.rsplit_once('/').unwrap_or(("", key));
    for parent in parents.split('/').filter(|parent| !parent.is_empty()) {
        path.push(parent);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(&path, &error).into()),
            _ => {}
        }
        // What is there may be a symlink that leads out of this folder.
        if !fs::symlink_metadata(&path)?.is_dir() {
            return Err(format!("{}: this is not a folder", path.display()).into());
        }
    }
    path.push(name);
    Ok(path)
}

fn write_object(path: &Path, object: &[u8], is_known: bool) -> io::Result<()> {
    let mut options = File::options();
    // If there is something with the name of a new object, it was not read because it is not a
    // plain file: a folder, or a symlink that may lead out of this one. It stays as it is.
    options.write(true).truncate(true).create_new(!is_known);
    options.open(path)?.write_all(object)
}

pub(crate) fn failed(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

//! The root folder, and the facts of the files in it.

use persist_model::error::HINT;
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, ErrorCode as Os, MetadataHashValue, OpenFlags, PathFlags,
};

use crate::bindings::wit::{Error, ErrorCode, ObjectInfo};
use crate::failure::{error, failed, not_a_file};

/// Names the root folder, if it is not the first one that the host grants access to.
const VARIABLE: &str = "PERSIST_LOCAL_PATH";

/// Opens the root folder for reading.
pub(crate) fn root() -> Result<Descriptor, Error> {
    let (given, path) = located()?;
    if path.is_empty() { Ok(given) } else { open_folder(&given, &path).map_err(|os| failed("open", os)) }
}

/// Opens the root folder for writing, and creates it if it is missing.
pub(crate) fn made_root() -> Result<Descriptor, Error> {
    let (given, path) = located()?;
    if path.is_empty() { Ok(given) } else { make_folder(&given, &path) }
}

/// Returns the folder of the host that the root is in, and the path of the root below it,
/// which may be empty.
fn located() -> Result<(Descriptor, String), Error> {
    let mut folders = get_directories();
    let wanted = wasip2::cli::environment::get_environment().into_iter().find(|(name, value)| name == VARIABLE && !value.is_empty());
    let Some((_, wanted)) = wanted else {
        if folders.is_empty() {
            return Err(no_access("the host grants access to no folder".to_owned(), "a folder"));
        }
        return Ok((folders.swap_remove(0).0, String::new()));
    };
    // The folder whose name is the longest prefix of the path. A relative path is below the
    // folder that represents the current folder, or everything.
    let wanted = wanted.trim_start_matches("./");
    let rest_in = |name: &str| {
        let name = if name == "./" { "." } else { name.trim_start_matches("./") };
        let rest = match name {
            "." => (!wanted.starts_with('/')).then_some(wanted),
            "/" => Some(wanted),
            name => wanted.strip_prefix(name.trim_end_matches('/')).filter(|rest| rest.is_empty() || rest.starts_with('/')),
        };
        rest.map(|rest| rest.trim_matches('/').to_owned())
    };
    let found = folders.iter().enumerate().filter_map(|(number, (_, name))| rest_in(name).map(|rest| (name.len(), number, rest))).max();
    let Some((_, number, rest)) = found else {
        return Err(no_access(format!("{VARIABLE} is not in a folder that the host grants access to"), "it"));
    };
    let path = if rest == "." { String::new() } else { rest };
    Ok((folders.swap_remove(number).0, path))
}

fn no_access(message: String, what: &str) -> Error {
    let hint = (HINT.to_owned(), format!("grant access to {what}, for example with 'wasmtime run --dir FOLDER'"));
    Error { details: vec![hint], ..error(ErrorCode::AccessDenied, message) }
}

/// Opens a folder below another. Some hosts require a flag to change what is in the folder,
/// but Node's host refuses this flag.
pub(crate) fn open_folder(root: &Descriptor, path: &str) -> Result<Descriptor, Os> {
    let path = if path.is_empty() { "." } else { path };
    let open = |flags| root.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::DIRECTORY, flags);
    match open(DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY) {
        Err(Os::Unsupported | Os::NotPermitted | Os::ReadOnly) => open(DescriptorFlags::READ),
        opened => opened,
    }
}

/// Opens a folder below another. Creates whatever is missing, and makes each part durable.
pub(crate) fn make_folder(root: &Descriptor, path: &str) -> Result<Descriptor, Error> {
    let failed = |os| match os {
        Os::NotDirectory | Os::Exist => error(ErrorCode::InvalidKey, "a parent of the path is a file, not a folder"),
        os => failed("create", os),
    };
    match open_folder(root, path) {
        Ok(folder) => return Ok(folder),
        Err(Os::NoEntry) => {}
        Err(os) => return Err(failed(os)),
    }
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    let mut parent = open_folder(root, "").map_err(|os| match os {
        Os::NoEntry => error(ErrorCode::NotFound, "the folder that the host grants access to does not exist"),
        os => failed(os),
    })?;
    for end in ends {
        let part = path.get(..end).unwrap_or(path);
        match root.create_directory_at(part) {
            Ok(()) | Err(Os::Exist) => {}
            Err(os) => return Err(failed(os)),
        }
        sync_folder(&parent).map_err(failed)?;
        parent = open_folder(root, part).map_err(failed)?;
    }
    Ok(parent)
}

/// Makes the last changes of names in a folder durable, if the host can.
pub(crate) fn sync_folder(folder: &Descriptor) -> Result<(), Os> {
    match folder.sync() {
        // The host can't sync, or can't sync folders.
        Err(Os::Unsupported | Os::BadDescriptor | Os::Invalid | Os::IsDirectory | Os::NotPermitted) => Ok(()),
        synced => synced,
    }
}

/// The facts of a file. The etag consists of the host's hash of the file's identity, its
/// size and its times. It changes with every replacement that these reveal.
fn facts(key: &str, stat: &DescriptorStat, identity: Result<MetadataHashValue, Os>) -> ObjectInfo {
    let identity = identity.map(|hash| format!("{:x}{:016x}", hash.upper, hash.lower)).unwrap_or_default();
    let time = |time: Option<wasip2::clocks::wall_clock::Datetime>| time.map(|time| format!("{:x}.{:x}", time.seconds, time.nanoseconds));
    // Not every host keeps the first time, and not every change in place sets the second.
    let times = [stat.status_change_timestamp, stat.data_modification_timestamp].map(|at| time(at).unwrap_or_default()).join("-");
    let modified = stat.data_modification_timestamp.map(|time| time.seconds * 1000 + u64::from(time.nanoseconds / 1_000_000));
    let etag = Some(format!("{identity}-{:x}-{times}", stat.size));
    ObjectInfo { etag, modified, ..unknown(key, stat.size) }
}

/// The facts of a file that can't be examined.
pub(crate) fn unknown(key: &str, size: u64) -> ObjectInfo {
    ObjectInfo { key: key.to_owned(), size, etag: None, modified: None, content_type: None, attributes: Vec::new(), storage_time: None }
}

/// The facts of an open file.
pub(crate) fn info(key: &str, file: &Descriptor, stat: &DescriptorStat) -> ObjectInfo {
    facts(key, stat, file.metadata_hash())
}

/// The facts of a file by its name; `None` for anything else. The file need not be
/// readable.
pub(crate) fn info_at(root: &Descriptor, key: &str) -> Result<Option<ObjectInfo>, Error> {
    let stat = root.stat_at(PathFlags::SYMLINK_FOLLOW, key).map_err(|os| failed("find", os))?;
    let is_file = stat.type_ == DescriptorType::RegularFile;
    Ok(is_file.then(|| facts(key, &stat, root.metadata_hash_at(PathFlags::SYMLINK_FOLLOW, key))))
}

/// Opens a file for reading. Checks first that it is a file: opening a pipe would wait for a
/// writer, and a host's deadline may not end that wait.
pub(crate) fn open(root: &Descriptor, key: &str) -> Result<(Descriptor, DescriptorStat), Error> {
    only_file(root.stat_at(PathFlags::SYMLINK_FOLLOW, key))?;
    let file = root.open_at(PathFlags::SYMLINK_FOLLOW, key, OpenFlags::empty(), DescriptorFlags::READ).map_err(|os| failed("open", os))?;
    let stat = only_file(file.stat())?;
    Ok((file, stat))
}

fn only_file(stat: Result<DescriptorStat, Os>) -> Result<DescriptorStat, Error> {
    let stat = stat.map_err(|os| failed("open", os))?;
    match stat.type_ {
        DescriptorType::RegularFile => Ok(stat),
        found => Err(not_a_file(found)),
    }
}

//! Writes files that appear under their names whole and durable, or not at all.
//!
//! It writes and syncs a temporary file in the same folder, renames it, syncs the folder,
//! and only then acknowledges the write. WASI has no locks, so a temporary file is debris
//! once it has not been written to for a day. If its name says that its writer holds a lock, it
//! is left to hosts that have locks.

use persist_model::error::HINT;
use persist_model::files::{ALREADY_EXISTS, WRITTEN};
use persist_paths::key::{ABANDONED_AFTER, is_swept};
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, DescriptorType, ErrorCode as Os, OpenFlags, PathFlags};

use crate::bindings::wit::{ByteRange, Error, ErrorCode, ObjectInfo, Precondition, Span};
use crate::failure::{error, failed, not_a_file, not_durable};
use crate::read::Reader;
use crate::{files, key, list};

/// How many names are tried. Random names never collide by chance.
const ATTEMPTS: u32 = 16;

/// An object being written.
pub(crate) struct Unfinished {
    root: Descriptor,
    key: String,
    if_absent: bool,
    folder: Descriptor,
    temporary: String,
    file: Descriptor,
    written: u64,
    /// Whether a write failed, so that some bytes may be missing.
    has_failed: bool,
    is_published: bool,
}

fn already_exists() -> Error {
    error(ErrorCode::AlreadyExists, ALREADY_EXISTS)
}

/// Removes unfinished writes from a folder if their writers are gone. In a large folder it
/// does so only now and then. A later write removes what can't be removed now.
fn sweep(folder: &Descriptor) {
    let size = folder.stat().map_or(0, |stat| stat.size);
    if !is_swept(size, wasip2::random::random::get_random_u64()) {
        return;
    }
    let now = wasip2::clocks::wall_clock::now().seconds;
    let Ok(entries) = folder.read_directory() else { return };
    let mut debris = Vec::new();
    loop {
        match entries.read_directory_entry() {
            Ok(Some(entry)) if key::is_unlocked_temporary(&entry.name) => debris.push(entry.name),
            // It is gone by now, or its name is not UTF-8.
            Ok(Some(_)) | Err(Os::NoEntry | Os::IllegalByteSequence) => {}
            Ok(None) | Err(_) => break,
        }
    }
    for name in debris {
        let written = folder.stat_at(PathFlags::empty(), &name).ok().and_then(|stat| stat.data_modification_timestamp);
        if written.is_some_and(|written| now.saturating_sub(written.seconds) > ABANDONED_AFTER.as_secs()) {
            let _ = folder.unlink_file_at(&name);
        }
    }
}

fn create_temporary(folder: &Descriptor) -> Result<(String, Descriptor), Os> {
    for _ in 0..ATTEMPTS {
        let name = key::temporary_name();
        let flags = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        match folder.open_at(PathFlags::empty(), &name, flags, DescriptorFlags::READ | DescriptorFlags::WRITE) {
            Ok(file) => return Ok((name, file)),
            Err(Os::Exist) => {}
            Err(os) => return Err(os),
        }
    }
    Err(Os::Exist)
}

impl Unfinished {
    pub(crate) fn open(root: Descriptor, key: &str, precondition: &Precondition) -> Result<Self, Error> {
        let if_absent = match precondition {
            Precondition::None => false,
            Precondition::IfAbsent => true,
            Precondition::IfMatch(_) => return Err(if_match_unsupported()),
        };
        let (path, name) = key::split(key);
        let folder = files::make_folder(&root, path)?;
        match folder.stat_at(PathFlags::empty(), name) {
            Ok(stat) if !matches!(stat.type_, DescriptorType::RegularFile | DescriptorType::SymbolicLink) => {
                return Err(not_a_file(stat.type_));
            }
            Ok(_) if if_absent => return Err(already_exists()),
            Ok(_) | Err(Os::NoEntry) => {}
            Err(os) => return Err(failed("create", os)),
        }
        sweep(&folder);
        let (temporary, file) = create_temporary(&folder).map_err(|os| failed("create", os))?;
        let key = key.to_owned();
        Ok(Self { root, key, if_absent, folder, temporary, file, written: 0, has_failed: false, is_published: false })
    }

    pub(crate) fn write(&mut self, chunk: &[u8]) -> Result<(), Error> {
        self.step(|unfinished| unfinished.append(chunk))
    }

    /// Appends bytes of another file under the same root.
    pub(crate) fn copy(&mut self, source: &str, span: Span, if_match: Option<&str>) -> Result<(), Error> {
        self.step(|unfinished| {
            let open = || {
                key::check(source)?;
                let reader = Reader::open(&unfinished.root, source, &ByteRange::Span(span), if_match)?;
                if reader.left() == span.length {
                    return Ok(reader);
                }
                let message = format!("the file has {} of the {} bytes to be copied", reader.left(), span.length);
                Err(error(ErrorCode::Io, message))
            };
            let mut reader = open().map_err(|error: Error| error.at(source))?;
            reader.for_each(|chunk| unfinished.append(chunk))
        })
    }

    fn step(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        self.check_whole()?;
        let done = work(self).map_err(|error| error.at(&self.key));
        self.has_failed = done.is_err();
        done
    }

    fn check_whole(&self) -> Result<(), Error> {
        let failed = || error(ErrorCode::InvalidArgument, "a writer that failed can only be dropped").at(&self.key);
        if self.has_failed { Err(failed()) } else { Ok(()) }
    }

    fn append(&mut self, mut chunk: &[u8]) -> Result<(), Error> {
        while !chunk.is_empty() {
            let count = self.file.write(chunk, self.written).map_err(|os| failed("write", os))?;
            let taken = usize::try_from(count).unwrap_or(usize::MAX);
            if taken == 0 || taken > chunk.len() {
                return Err(error(ErrorCode::Io, "the host accepts no more bytes of the file"));
            }
            chunk = chunk.get(taken..).unwrap_or_default();
            self.written += count;
        }
        Ok(())
    }

    fn publish(&mut self) -> Result<(), Os> {
        list::forget();
        // A failed sync is not retried: the system may have dropped the data, and the next
        // sync would report success.
        self.file.sync()?;
        let (_, name) = key::split(&self.key);
        if self.if_absent {
            // A link fails if the name is taken; a rename does not.
            self.folder.link_at(PathFlags::empty(), &self.temporary, &self.folder, name)?;
            // The object is there. If the temporary name stays, it is swept as debris later.
            let _ = self.folder.unlink_file_at(&self.temporary);
        } else {
            self.folder.rename_at(&self.temporary, &self.folder, name)?;
        }
        self.is_published = true;
        Ok(())
    }

    pub(crate) fn commit(mut self) -> Result<ObjectInfo, Error> {
        self.check_whole()?;
        self.publish().map_err(|os| {
            let error = if self.if_absent && os == Os::Exist { already_exists() } else { failed("store", os) };
            error.at(&self.key)
        })?;
        // From here on the object exists, whatever happens.
        files::sync_folder(&self.folder).map_err(|os| not_durable(WRITTEN, os).at(&self.key))?;
        Ok(match self.file.stat() {
            Ok(stat) => files::info(&self.key, &self.file, &stat),
            Err(_) => files::unknown(&self.key, self.written),
        })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_published {
            let _ = self.folder.unlink_file_at(&self.temporary);
        }
    }
}

pub(crate) fn if_match_unsupported() -> Error {
    let hint = (HINT.to_owned(), "use a storage that supports it, such as S3".to_owned());
    Error { details: vec![hint], ..error(ErrorCode::Unsupported, "local files don't support the precondition if-match") }
}

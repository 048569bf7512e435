//! A folder of files as a storage.

use std::io::{Seek, SeekFrom};

use persist_model::files::NO_FILE;
use persist_model::{ErrorCode, Permissions, PersistError, Precondition, Result};
use persist_paths::key::check_file_key;

use crate::storage::local::disk::Operation;
use crate::storage::local::place::{LocalFileStorage, object_info};
use crate::storage::local::read::LocalReader;
use crate::storage::local::{delete, list, write};
use crate::storage::{
    Capabilities, DeleteFailure, LevelEntry, Listing, ObjectInfo, ReadOptions, StorageAdapter, StorageReader, StorageWriter, WriteOptions,
    delete_if_absent,
};

impl StorageAdapter for LocalFileStorage {
    fn summary(&self) -> String {
        format!("files in {}", self.root().display())
    }

    fn locate(&self, key: &str) -> String {
        self.root.join(key).display().to_string()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { if_absent: true, copy_range: true, storage_time: true, ..Capabilities::default() }
    }

    fn open_write(&self, key: &str, options: WriteOptions) -> Result<Box<dyn StorageWriter>> {
        check_file_key(key)?;
        if let Precondition::IfMatch(_) = options.precondition {
            return Err(if_match_unsupported().at(self.locate(key)));
        }
        Ok(Box::new(write::LocalWriter::open(self, key, options)?))
    }

    fn open_read(&self, key: &str, options: ReadOptions) -> Result<Box<dyn StorageReader>> {
        if key.ends_with('/') {
            return Err(list::why_listed(self, key).at(self.locate(key)));
        }
        check_file_key(key)?;
        let (mut file, metadata) = self.open_file(key)?;
        let info = object_info(key, &metadata);
        if options.if_match.is_some() && options.if_match != info.etag {
            return Err(PersistError::new(ErrorCode::PreconditionFailed, "the file has been replaced").at(self.locate(key)));
        }
        let (start, end) = options.range.within(info.size);
        file.seek(SeekFrom::Start(start)).map_err(|error| self.failed(key, "read the file", &error))?;
        Ok(Box::new(LocalReader { disk: self.disk.clone(), file, info, left: end.saturating_sub(start), location: self.locate(key) }))
    }

    fn stat(&self, key: &str) -> Result<ObjectInfo> {
        check_file_key(key)?;
        let metadata = self
            .open_root()
            .and_then(|root| {
                self.disk.before(&Operation::Stat(key))?;
                root.metadata(key)
            })
            .map_err(|error| self.failed(key, "find the file", &error))?;
        if metadata.is_file() {
            return Ok(object_info(key, &metadata));
        }
        Err(PersistError::new(ErrorCode::NotFound, NO_FILE).at(self.locate(key)))
    }

    fn delete_object(&self, key: &str, precondition: Precondition) -> Result<()> {
        check_file_key(key)?;
        match precondition {
            Precondition::None => {}
            Precondition::IfAbsent => {
                return Err(delete_if_absent().at(self.locate(key)));
            }
            Precondition::IfMatch(_) => return Err(if_match_unsupported().at(self.locate(key))),
        }
        delete::delete(self, key)
    }

    fn delete_many(&self, keys: &[String]) -> Result<Vec<DeleteFailure>> {
        Ok(delete::delete_many(self, keys))
    }

    fn remove_empty_folders(&self, folder: &str, keys: &[String]) {
        delete::remove_empty_folders(self, folder, keys);
    }

    fn list_objects(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>> {
        list::list(self, prefix, start_after, limit)
    }

    fn list_level(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<LevelEntry>> {
        list::level(self, prefix, start_after, limit)
    }

    fn walk(&self, prefix: &str, start_after: Option<&str>) -> Option<Listing> {
        Some(list::walk(self, prefix, start_after))
    }

    fn permissions(&self, key: &str) -> Option<Permissions> {
        use cap_std::fs::MetadataExt as _;
        check_file_key(key).ok()?;
        let metadata = self.open_root().and_then(|root| root.metadata(key)).ok()?;
        metadata.is_file().then(|| Permissions::new(metadata.mode() & Permissions::MASK, Some(metadata.gid())))
    }
}

fn if_match_unsupported() -> PersistError {
    PersistError::new(ErrorCode::Unsupported, "local files don't support the precondition if-match")
        .hint("use a storage that supports it, such as S3")
}

//! Reads files.

use std::fmt;
use std::io::Read;

use cap_std::fs::File;
use persist_model::Result;

use crate::storage::local::disk::Disk;
use crate::storage::local::error::local_error;
use crate::storage::{MAX_READ, ObjectInfo, StorageReader};

pub(super) struct LocalReader {
    pub(super) disk: Disk,
    pub(super) file: File,
    pub(super) info: ObjectInfo,
    /// Bytes of the range that were not read yet.
    pub(super) left: u64,
    pub(super) location: String,
}

impl fmt::Debug for LocalReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalReader({})", self.location)
    }
}

impl StorageReader for LocalReader {
    fn info(&self) -> &ObjectInfo {
        &self.info
    }

    fn read(&mut self, max: u32) -> Result<Vec<u8>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let want = u64::from(max.min(MAX_READ)).min(self.left);
        let mut chunk = Vec::with_capacity(usize::try_from(want).unwrap_or_default());
        let read = self.disk.file(&mut self.file).take(want).read_to_end(&mut chunk);
        read.map_err(|error| local_error("read the file", &error).at(&self.location))?;
        // A file that became shorter ends the range early, which the caller notices.
        self.left = if chunk.is_empty() { 0 } else { self.left - chunk.len() as u64 };
        Ok(chunk)
    }
}

//! The component's imports: its storage, within the bounds of the contract.

use persist_model::{ErrorCode, PersistError, Precondition};
use wasmtime::component::Resource;

use crate::sandbox::bindings::{ReaderHandle, StorageFailure, WriterHandle, storage as wit, types};
use crate::sandbox::errors::to_guest;
use crate::sandbox::state::Sandbox;
use crate::storage::{ByteRange, Capabilities, LevelEntry, MAX_READ, ObjectInfo, ReadAnswer, ReadOptions, ReadRequest, WriteOptions};

/// The most objects that the contract lets a guest list, read or delete in one call.
const MAX_LISTING: u32 = 1000;

impl From<ObjectInfo> for wit::ObjectInfo {
    fn from(info: ObjectInfo) -> Self {
        let ObjectInfo { key, size, etag, modified, content_type, attributes, storage_time } = info;
        Self { key, size, etag, modified, content_type, attributes, storage_time }
    }
}

impl From<wit::ByteRange> for ByteRange {
    fn from(range: wit::ByteRange) -> Self {
        match range {
            wit::ByteRange::All => Self::All,
            wit::ByteRange::Span(span) => Self::Span { offset: span.offset, length: span.length },
            wit::ByteRange::Suffix(length) => Self::Suffix(length),
        }
    }
}

impl From<wit::Precondition> for Precondition {
    fn from(precondition: wit::Precondition) -> Self {
        match precondition {
            wit::Precondition::None => Self::None,
            wit::Precondition::IfAbsent => Self::IfAbsent,
            wit::Precondition::IfMatch(etag) => Self::IfMatch(etag),
        }
    }
}

/// Checks how many items a call asks for.
fn within_limit(count: usize, what: &str) -> Result<(), PersistError> {
    if count <= MAX_LISTING as usize {
        return Ok(());
    }
    Err(PersistError::new(ErrorCode::LimitExceeded, format!("{count} {what} in one call exceed the limit of {MAX_LISTING}")))
}

/// Checks the length of a page, all of which the host would hold in memory.
fn check_page(limit: u32) -> Result<(), PersistError> {
    if (1..=MAX_LISTING).contains(&limit) {
        return Ok(());
    }
    Err(PersistError::new(ErrorCode::InvalidArgument, format!("a listing has 1 to {MAX_LISTING} entries, not {limit}")))
}

impl wit::Host for Sandbox {
    fn capabilities(&mut self) -> wasmtime::Result<wit::CapabilitySet> {
        use wit::CapabilitySet as Flag;
        let Capabilities { if_absent, if_match, copy_range, content_type, attributes, storage_time } = self.storage.capabilities();
        let claimed = [
            (if_absent, Flag::IF_ABSENT),
            (if_match, Flag::IF_MATCH),
            (copy_range, Flag::COPY_RANGE),
            (content_type, Flag::CONTENT_TYPE),
            (attributes, Flag::ATTRIBUTES),
            (storage_time, Flag::STORAGE_TIME),
            // Every adapter supports these, at least one by one.
            (true, Flag::READ_MANY | Flag::DELETE_MANY | Flag::LIST_LEVEL),
        ];
        Ok(claimed.into_iter().filter(|(is_claimed, _)| *is_claimed).fold(Flag::empty(), |flags, (_, flag)| flags | flag))
    }

    fn open_write(&mut self, key: String, options: wit::WriteOptions) -> Result<Resource<WriterHandle>, StorageFailure> {
        let options = WriteOptions {
            precondition: options.precondition.into(),
            object_size_hint: options.object_size_hint,
            content_type: options.content_type,
            attributes: options.attributes,
            permissions: self.permissions,
            ..WriteOptions::default()
        };
        let writer = self.in_storage(|sandbox| Ok(sandbox.storage.open_write(&key, options)?))?;
        Ok(self.table.push(WriterHandle(writer))?)
    }

    fn open_read(&mut self, key: String, options: wit::ReadOptions) -> Result<Resource<ReaderHandle>, StorageFailure> {
        let range = options.range.into();
        let options = ReadOptions { range, if_match: options.if_match };
        let reader = self.in_storage(|sandbox| Ok(sandbox.storage.open_read(&key, options)?))?;
        let handle = self.table.push(ReaderHandle(reader))?;
        self.opened = Some((handle.rep(), range));
        Ok(handle)
    }

    fn stat(&mut self, key: String) -> Result<wit::ObjectInfo, StorageFailure> {
        self.in_storage(|sandbox| Ok(sandbox.storage.stat(&key)?)).map(wit::ObjectInfo::from)
    }

    fn delete(&mut self, key: String, precondition: wit::Precondition) -> Result<(), StorageFailure> {
        let deleted = self.in_storage(|sandbox| Ok(sandbox.storage.delete_object(&key, precondition.into())?));
        self.has_changed = true;
        deleted
    }

    fn read_many(&mut self, requests: Vec<wit::ReadRequest>) -> Result<Vec<Result<wit::ReadAnswer, wit::Error>>, StorageFailure> {
        within_limit(requests.len(), "reads")?;
        let requests: Vec<ReadRequest> = requests
            .into_iter()
            .map(|request| ReadRequest { key: request.key, range: request.range.into(), if_match: request.if_match })
            .collect();
        let mut wanted = 0_u64;
        for request in &requests {
            wanted = wanted.saturating_add(match request.range {
                ByteRange::Span { length, .. } | ByteRange::Suffix(length) => length,
                ByteRange::All => {
                    let message = "each read of several objects must limit how many bytes it requests";
                    return Err(PersistError::new(ErrorCode::InvalidArgument, message).into());
                }
            });
        }
        if wanted > u64::from(MAX_READ) {
            let message = format!("reads of {wanted} bytes in one call exceed the limit of {MAX_READ}");
            return Err(PersistError::new(ErrorCode::LimitExceeded, message).into());
        }
        let answers = self.in_storage(|sandbox| Ok(sandbox.storage.read_many(&requests)?))?;
        Ok(answers
            .into_iter()
            .map(|answer| {
                answer.map(|ReadAnswer { info, bytes }| wit::ReadAnswer { info: info.into(), bytes }).map_err(|error| to_guest(&error))
            })
            .collect())
    }

    fn delete_many(&mut self, keys: Vec<String>) -> Result<Vec<wit::DeleteFailure>, StorageFailure> {
        within_limit(keys.len(), "deletes")?;
        let failures = self.in_storage(|sandbox| Ok(sandbox.storage.delete_many(&keys)?));
        self.has_changed = true;
        Ok(failures?.into_iter().map(|failure| wit::DeleteFailure { key: failure.key, error: to_guest(&failure.error) }).collect())
    }

    fn list_level(&mut self, prefix: String, start_after: Option<String>, limit: u32) -> Result<Vec<wit::LevelEntry>, StorageFailure> {
        check_page(limit)?;
        let found = self.in_storage(|sandbox| Ok(sandbox.storage.list_level(&prefix, start_after.as_deref(), limit)?))?;
        Ok(found
            .into_iter()
            .map(|entry| match entry {
                LevelEntry::Object(info) => wit::LevelEntry::Object(info.into()),
                LevelEntry::Prefix(prefix) => wit::LevelEntry::Prefix(prefix),
            })
            .collect())
    }

    fn list_objects(&mut self, prefix: String, start_after: Option<String>, limit: u32) -> Result<Vec<wit::ObjectInfo>, StorageFailure> {
        check_page(limit)?;
        if let Some(objects) = &self.listing {
            let is_wanted =
                |info: &&ObjectInfo| info.key.starts_with(&prefix) && start_after.as_ref().is_none_or(|after| info.key > *after);
            return Ok(objects.iter().filter(is_wanted).take(limit as usize).cloned().map(wit::ObjectInfo::from).collect());
        }
        let found = self.in_storage(|sandbox| Ok(sandbox.storage.list_objects(&prefix, start_after.as_deref(), limit)?))?;
        Ok(found.into_iter().map(wit::ObjectInfo::from).collect())
    }
}

impl types::Host for Sandbox {
    fn convert_error(&mut self, failure: StorageFailure) -> wasmtime::Result<wit::Error> {
        match failure {
            StorageFailure::Storage(error) => {
                let told = to_guest(&error);
                self.failed = Some(error);
                Ok(told)
            }
            StorageFailure::Trap(trap) => Err(trap),
        }
    }
}

impl wit::HostWriter for Sandbox {
    fn write(&mut self, handle: Resource<WriterHandle>, chunk: Vec<u8>) -> Result<(), StorageFailure> {
        self.in_storage(|sandbox| Ok(sandbox.table.get_mut(&handle)?.0.write(&chunk)?))
    }

    fn copy_range(
        &mut self,
        handle: Resource<WriterHandle>,
        source: String,
        span: wit::Span,
        if_match: Option<String>,
    ) -> Result<(), StorageFailure> {
        self.in_storage(|sandbox| {
            let writer = sandbox.table.get_mut(&handle)?;
            Ok(writer.0.copy_range(&source, span.offset, span.length, if_match.as_deref())?)
        })
    }

    fn commit(&mut self, handle: Resource<WriterHandle>) -> Result<wit::ObjectInfo, StorageFailure> {
        let writer = self.table.delete(handle)?;
        let committed = self.in_storage(|_| Ok(writer.0.commit()?));
        self.has_changed = true;
        committed.map(wit::ObjectInfo::from)
    }

    fn drop(&mut self, handle: Resource<WriterHandle>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl wit::HostReader for Sandbox {
    fn info(&mut self, handle: Resource<ReaderHandle>) -> wasmtime::Result<wit::ObjectInfo> {
        Ok(self.table.get(&handle)?.0.info().clone().into())
    }

    fn read(&mut self, handle: Resource<ReaderHandle>, max: u32) -> Result<Vec<u8>, StorageFailure> {
        if max == 0 {
            return Ok(Vec::new());
        }
        self.in_storage(|sandbox| Ok(sandbox.table.get_mut(&handle)?.0.read(max)?))
    }

    fn drop(&mut self, handle: Resource<ReaderHandle>) -> wasmtime::Result<()> {
        self.opened = self.opened.filter(|(opened, _)| *opened != handle.rep());
        self.table.delete(handle)?;
        Ok(())
    }
}

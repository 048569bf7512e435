//! Copies snapshots between storages.

use std::cell::Cell;

use persist_model::error::may_be_another_kind;
use persist_model::{ErrorCode, PersistError, Precondition, Result, SnapshotMetadata, SnapshotOptions};
use persist_paths::timeline::{is_reserved, is_step};

use crate::engine::engine::{Engine, metadata_sizes, sent_whole};
use crate::engine::verify::STORED_CHUNK;
use crate::storage::WriteOptions;

/// What a copy may replace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyOptions {
    /// The precondition on the target key. An intact snapshot with the same digest
    /// there is never a conflict.
    pub precondition: Precondition,
    /// Whether the copy may also replace objects that are not snapshots.
    pub replaces_anything: bool,
    /// Copies only the snapshot with this digest, and fails with `Conflict` if it has
    /// been replaced by another.
    pub digest: Option<String>,
}

persist_model::setters!(CopyOptions {
    precondition: Precondition,
    replaces_anything: bool,
    digest: impl Into<Option<String>>,
});

impl From<Precondition> for CopyOptions {
    fn from(precondition: Precondition) -> Self {
        Self { precondition, ..Self::default() }
    }
}

/// The result of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// The metadata of the snapshot at the target.
    pub metadata: SnapshotMetadata,
    /// False if the snapshot was already at the target.
    pub is_new: bool,
}

impl Engine {
    /// Copies a snapshot, byte for byte, to a key of another engine's storage. Of a step of a
    /// timeline, the state is saved as a snapshot, with the metadata of the step.
    ///
    /// The snapshot is verified on the way, and a damaged one is not copied. A snapshot
    /// with the same digest at the target is verified too: an intact one is kept, a
    /// damaged one is replaced. A file gets the permissions of the file that it is
    /// copied from. `progress` is called now and then with the number of stored bytes
    /// copied so far; it starts at 0 again if the copy does.
    ///
    /// # Errors
    /// As [`verify`](Self::verify), and any error of the target's storage. Unless
    /// `options` allow the copy to replace anything, these have the target's location:
    /// `NotASnapshot` or `WrongKind` for another object there, `InvalidFormat` for one
    /// that may be a gzip file of another program, and `AccessDenied` if the object
    /// there can't be read.
    pub fn copy(
        &self,
        key: &str,
        target: &Self,
        target_key: &str,
        options: impl Into<CopyOptions>,
        mut progress: impl FnMut(u64),
    ) -> Result<Copied> {
        let options = options.into();
        if is_reserved(target_key) {
            let error = PersistError::new(ErrorCode::InvalidArgument, "a copy can't have the name of a step of a timeline");
            return Err(error.at(target.storage.locate(target_key)).hint("give the name of a snapshot, such as state.json.zst"));
        }
        if is_step(key) {
            return self.copy_step(key, target, target_key, &options, progress);
        }
        let copied = Cell::new(0);
        let mut copy = || {
            let mut existing = None;
            let open = |metadata: &SnapshotMetadata| {
                copied.set(0);
                if options.digest.as_ref().is_some_and(|digest| *digest != metadata.digest) {
                    return Err(PersistError::new(ErrorCode::PreconditionFailed, "the snapshot was replaced before it was copied"));
                }
                existing = target.copied_before(target_key, &metadata.digest, &options)?;
                if existing.is_some() {
                    return Ok(None);
                }
                let write = WriteOptions {
                    precondition: options.precondition.clone(),
                    object_size_hint: Some(metadata.stored_size),
                    content_type: Some(metadata.compression_algorithm.media_type().to_owned()),
                    permissions: self.storage.permissions(key).or(target.permissions),
                    ..WriteOptions::default()
                };
                target.storage.open_write(target_key, write).map(Some)
            };
            let (metadata, writer) = self.read_verified(key, open, |writer, chunk| {
                writer.write(chunk)?;
                copied.set(copied.get() + chunk.len() as u64);
                progress(copied.get());
                Ok(())
            })?;
            match (existing, writer) {
                (_, Some(writer)) => {
                    let info = writer.commit()?;
                    Ok(Copied { metadata: metadata.key(info.key).etag(info.etag), is_new: true })
                }
                (existing, None) => Ok(Copied { metadata: existing.unwrap_or(metadata), is_new: false }),
            }
        };
        self.logged("copy", key, || sent_whole(&mut copy), |copied| metadata_sizes(&copied.metadata))
    }

    /// Saves the state of a step as a snapshot, with its metadata.
    fn copy_step(
        &self,
        key: &str,
        target: &Self,
        target_key: &str,
        options: &CopyOptions,
        mut progress: impl FnMut(u64),
    ) -> Result<Copied> {
        let mut copy = || {
            let mut reader = self.reader(key)?;
            let step = reader.metadata().clone();
            if options.digest.as_ref().is_some_and(|digest| *digest != step.digest) {
                return Err(PersistError::new(ErrorCode::PreconditionFailed, "the step is not the one that was asked for"));
            }
            if let Some(existing) = target.same_state(target_key, &step, options)? {
                return Ok(Copied { metadata: existing, is_new: false });
            }
            let save = SnapshotOptions::default()
                .agent_id(step.agent_id)
                .session_id(step.session_id)
                .snapshot_index(step.snapshot_index)
                .description(step.description)
                .labels(step.labels)
                .content_type(Some(step.content_type))
                .extra(Some(step.extra))
                .snapshot_id(Some(step.snapshot_id))
                .timestamp(Some(step.timestamp))
                .precondition(options.precondition.clone())
                .size_hint(Some(step.uncompressed_size));
            let mut writer = target.writer(target_key, save)?;
            let mut copied = 0;
            while let Some(chunk) = reader.next_chunk()? {
                writer.write_state(&chunk)?;
                copied += chunk.len() as u64;
                progress(copied);
            }
            Ok(Copied { metadata: writer.commit()?, is_new: true })
        };
        self.logged("copy", key, || sent_whole(&mut copy), |copied| metadata_sizes(&copied.metadata))
    }

    /// Returns the snapshot of this step at a key, with every byte checked, or none if it
    /// must be written. Fails if it must not be written.
    fn same_state(&self, key: &str, step: &SnapshotMetadata, options: &CopyOptions) -> Result<Option<SnapshotMetadata>> {
        let digest = match self.metadata(key) {
            Ok(found) if found.snapshot_id == step.snapshot_id && found.content_hash == step.content_hash => found.digest,
            // Another, or none.
            _ => step.digest.clone(),
        };
        self.copied_before(key, &digest, options)
    }

    /// Returns how much memory, in bytes, copying a snapshot of this stored size to
    /// another engine's storage takes at most, in addition to an instance of the
    /// component.
    pub fn buffered_by_copy(&self, target: &Self, stored_size: u64) -> u64 {
        let chunk = u64::from(STORED_CHUNK).min(stored_size);
        self.storage.buffered(stored_size) + target.storage.buffered(stored_size) + chunk
    }

    /// Returns the snapshot with this digest at a key, with every byte checked, or none
    /// if the copy must be written. Fails if the copy must not be written.
    fn copied_before(&self, key: &str, digest: &str, options: &CopyOptions) -> Result<Option<SnapshotMetadata>> {
        use ErrorCode::{
            AccessDenied, Integrity, InvalidFormat, LimitExceeded, NoKey, NotASnapshot, NotFound, UnsupportedFormat, Untrusted, WrongKind,
        };
        let found = match self.metadata(key) {
            // Only the end was read; the data may be damaged.
            Ok(found) if found.digest == digest => self.verify(key),
            found => found,
        };
        let fails_if_there = options.precondition == Precondition::IfAbsent;
        let what = match found {
            Ok(found) if found.digest == digest => return Ok(Some(found)),
            Ok(_) => "a different snapshot already exists".to_owned(),
            Err(mut error) => {
                let needs_no_look = fails_if_there || options.replaces_anything;
                let what = match error.code() {
                    NotFound => return Ok(None),
                    // The caller may write but not read. The storage checks the
                    // precondition.
                    AccessDenied if needs_no_look => return Ok(None),
                    AccessDenied => {
                        let hint = "check the permissions, or replace the object without reading it, for example with --force";
                        error.detail_mut().hint = Some(hint.to_owned());
                        return Err(error);
                    }
                    _ if may_be_another_kind(&error) && !needs_no_look => return Err(error),
                    Integrity | InvalidFormat => "the existing object is damaged",
                    LimitExceeded | NoKey | UnsupportedFormat | Untrusted => "the existing object can't be read",
                    NotASnapshot | WrongKind if needs_no_look => "a different object already exists",
                    _ => return Err(error),
                };
                format!("{what}: {}", error.detail().message)
            }
        };
        if !fails_if_there {
            return Ok(None);
        }
        let error = PersistError::new(ErrorCode::AlreadyExists, what).at(self.storage.locate(key));
        Err(error.hint(ErrorCode::AlreadyExists.file_advice().unwrap_or_default()))
    }
}

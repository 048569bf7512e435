//! The engine: one compiled component, its limits and a storage.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::ResourceAny;

use crate::ByteRange;
use crate::builder::EngineBuilder;
use crate::cancel::CancelToken;
use crate::error::{ErrorCode, PersistError, Result, may_be_another_kind};
use crate::guest::{Guest, Shared, log};
use crate::list::{Snapshots, listing};
use crate::metadata::{ListFilter, SnapshotMetadata, SnapshotOptions};
use crate::permissions::Permissions;
use crate::restore::SnapshotReader;
use crate::salvage::Salvager;
use crate::sandbox::Limits;
use crate::save::SnapshotWriter;
use crate::storage::{Listed, Precondition, ReadOptions, StorageAdapter, WriteOptions, is_lost_upload};

/// Saves and restores snapshots in one storage, each operation in a fresh
/// instance of the component. Clones are cheap and share the compiled code;
/// an engine can be used from many threads at once.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    storage: Arc<dyn StorageAdapter>,
    limits: Limits,
    cancel: CancelToken,
    /// Of what is written; see [`WriteOptions::permissions`].
    permissions: Option<Permissions>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("storage", &self.storage).field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine to be set up.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// An engine of its own parts.
    pub(crate) fn new(shared: Arc<Shared>, storage: Arc<dyn StorageAdapter>, limits: Limits) -> Self {
        Self { shared, storage, limits, cancel: CancelToken::new(), permissions: None }
    }

    /// The same engine on another storage.
    #[must_use]
    pub fn with_storage(&self, storage: Arc<dyn StorageAdapter>) -> Self {
        Self { storage, ..self.clone() }
    }

    /// The storage.
    pub fn storage(&self) -> &Arc<dyn StorageAdapter> {
        &self.storage
    }

    /// The same engine, whose operations end when the token is cancelled.
    #[must_use]
    pub fn with_cancel(&self, cancel: &CancelToken) -> Self {
        let storage = self.storage.with_cancel(cancel).unwrap_or_else(|| Arc::clone(&self.storage));
        Self { storage, cancel: cancel.clone(), ..self.clone() }
    }

    /// The same engine, whose snapshots get these permissions where they are files:
    /// those of what the state comes from. See [`WriteOptions::permissions`].
    #[must_use]
    pub fn with_permissions(&self, permissions: Option<Permissions>) -> Self {
        Self { permissions, ..self.clone() }
    }

    /// An engine like this one for a child process that was forked off: of the
    /// threads of its parent none runs in it, and what they were holding is held
    /// for ever. Nothing is compiled anew. A storage with threads of its own, as
    /// S3, has to be opened anew.
    ///
    /// The parent's engine, its writers and its readers refuse to work in the
    /// child, with `Configuration`. Dropped there, they leave what they have to
    /// the parent, which goes on with it. A fork waits until no other thread loads
    /// code, half a second at most. If it then still does, or drops the last engine at
    /// this very moment, the child may find wasmtime's own lock held.
    ///
    /// # Errors
    /// As [`EngineBuilder::build`].
    pub fn after_fork(&self) -> Result<Self> {
        let fresh = self.shared.builder.clone().with_code(self.shared.runtime.code.clone()).build()?;
        Ok(Self { shared: fresh.shared, ..self.clone() })
    }

    /// Fails in a process that was forked off since the engine was made.
    pub(crate) fn check_process(&self) -> Result<()> {
        self.shared.process.check()
    }

    #[cfg(test)]
    pub(crate) fn crew(&self) -> &Arc<crate::crew::Crew> {
        &self.shared.crew
    }

    /// A fresh instance.
    pub(crate) fn guest(&self) -> Result<Guest> {
        Guest::start(&self.shared, &self.storage, self.limits, &self.cancel)
    }

    /// Runs an operation and logs what became of it; never what is in a state.
    fn logged<T>(&self, operation: &str, key: &str, run: impl FnOnce() -> Result<T>, sizes: impl FnOnce(&T) -> (u64, u64)) -> Result<T> {
        let began = Instant::now();
        let result = run().map_err(|error| error.at(self.storage.locate(key)));
        log(operation, &self.storage.locate(key), began, result.as_ref().map(sizes));
        result
    }

    /// Saves a state that is in memory.
    ///
    /// # Errors
    /// `Configuration` for options or a key that are not valid,
    /// `AlreadyExists` and `Conflict` by the precondition, and what the
    /// storage says. What was stored before is still there then.
    pub fn snapshot(&self, key: &str, state: &[u8], options: &SnapshotOptions) -> Result<SnapshotMetadata> {
        let options = SnapshotOptions { size_hint: Some(state.len() as u64), ..options.clone() };
        sent_whole(|| {
            let mut writer = self.writer(key, options.clone())?;
            writer.write_state(state)?;
            writer.commit()
        })
    }

    /// Saves a state piece by piece, in bounded memory. Nothing is stored
    /// until the writer is committed.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot).
    pub fn writer(&self, key: &str, options: SnapshotOptions) -> Result<SnapshotWriter> {
        let mut guest = self.guest()?;
        guest.write_with(self.permissions);
        SnapshotWriter::open(guest, key, options)
    }

    /// Restores a state into memory.
    ///
    /// # Errors
    /// `NotFound`, `Integrity` for a damaged snapshot, `InvalidFormat` for
    /// what is none, and what the storage says.
    pub fn restore(&self, key: &str) -> Result<Vec<u8>> {
        let mut attempt = 1;
        loop {
            match self.reader(key)?.read_state(|_| Ok(())) {
                // Replaced while it was read, which only a storage without etags lets
                // happen: what is there now will do.
                Err(PersistError::Conflict(_)) if attempt < OPEN_ATTEMPTS => attempt += 1,
                read => return read,
            }
        }
    }

    /// Restores a state piece by piece, in bounded memory.
    ///
    /// # Errors
    /// As [`restore`](Self::restore).
    pub fn reader(&self, key: &str) -> Result<SnapshotReader> {
        SnapshotReader::open(self.guest()?, key)
    }

    /// What a snapshot says of itself, after its digest was checked; reads its
    /// last 64 KiB, whatever the size of the state.
    ///
    /// # Errors
    /// As [`restore`](Self::restore).
    pub fn metadata(&self, key: &str) -> Result<SnapshotMetadata> {
        let read = || {
            let mut guest = self.guest()?;
            let metadata = guest.call(|persist, store| persist.persist_snapshot_snapshots().call_get_metadata(store, key))?;
            Ok(SnapshotMetadata::from(metadata))
        };
        self.logged("metadata", key, read, metadata_sizes)
    }

    /// Checks every byte of a snapshot and the hash of its state.
    ///
    /// # Errors
    /// As [`restore`](Self::restore).
    pub fn verify(&self, key: &str) -> Result<SnapshotMetadata> {
        self.verify_with(key, |_| {})
    }

    /// Checks a snapshot as [`verify`](Self::verify) does, and says now and
    /// then how many stored bytes were checked; it begins at 0 again where the
    /// snapshot was replaced meanwhile.
    ///
    /// # Errors
    /// As [`restore`](Self::restore).
    pub fn verify_with(&self, key: &str, mut progress: impl FnMut(u64)) -> Result<SnapshotMetadata> {
        let checked = Cell::new(0);
        let check = || {
            let open = |_: &SnapshotMetadata| {
                checked.set(0);
                Ok(Some(()))
            };
            let each = |(): &mut (), chunk: &[u8]| {
                checked.set(checked.get() + chunk.len() as u64);
                progress(checked.get());
                Ok(())
            };
            self.read_verified(key, open, each).map(|(metadata, _)| metadata)
        };
        self.logged("verify", key, check, metadata_sizes)
    }

    /// Reads a snapshot's stored bytes from the first to the last, and has
    /// them checked on the way: `open` gets the metadata and gives a sink, or
    /// none if the snapshot need not be read; `each` gets the sink and a chunk
    /// that was handed to the verifier. A sink that comes back has got all of a
    /// snapshot that is whole and right.
    fn read_verified<T>(
        &self,
        key: &str,
        mut open: impl FnMut(&SnapshotMetadata) -> Result<Option<T>>,
        mut each: impl FnMut(&mut T, &[u8]) -> Result<()>,
    ) -> Result<(SnapshotMetadata, Option<T>)> {
        let mut attempt = 1;
        loop {
            // Opening it has attempts of its own.
            let mut guest = self.guest()?;
            let verifier = guest.call(|persist, store| persist.persist_snapshot_snapshots().call_open_verifier(store, key))?;
            let metadata =
                guest.call(|persist, store| persist.persist_snapshot_snapshots().verifier().call_metadata(store, verifier).map(Ok))?;
            let metadata = SnapshotMetadata::from(metadata);
            let Some(mut sink) = open(&metadata)? else { return Ok((metadata, None)) };
            match self.hand_over(&mut guest, verifier, key, metadata.etag, |chunk| each(&mut sink, chunk)) {
                // Replaced while it was read: what is there now will do.
                Err(PersistError::Conflict(_)) if attempt < OPEN_ATTEMPTS => attempt += 1,
                verified => return Ok((verified?, Some(sink))),
            }
        }
    }

    /// Reads an object and hands all of it to a verifier, whose last word this gives.
    fn hand_over(
        &self,
        guest: &mut Guest,
        verifier: ResourceAny,
        key: &str,
        if_match: Option<String>,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<SnapshotMetadata> {
        let mut object = self.storage.open_read(key, ReadOptions { range: ByteRange::All, if_match })?;
        loop {
            self.cancel.check()?;
            let chunk = object.read(STORED_CHUNK)?;
            if chunk.is_empty() {
                break;
            }
            guest.call(|persist, store| persist.persist_snapshot_snapshots().verifier().call_write(store, verifier, &chunk))?;
            each(&chunk)?;
        }
        let metadata = guest.call(|persist, store| persist.persist_snapshot_snapshots().verifier().call_finish(store, verifier))?;
        Ok(SnapshotMetadata::from(metadata))
    }

    /// Copies a snapshot, byte for byte, to a key of another engine's storage,
    /// and verifies it on the way: what is damaged does not arrive. A snapshot
    /// of the same digest that is there already is verified too, and left as it is;
    /// if it is damaged, it is copied over. A file gets the permissions of the file
    /// that it is a copy of. `progress` is told now and then how many stored bytes
    /// were copied; it begins at 0 again where the copy does.
    ///
    /// # Errors
    /// As [`verify`](Self::verify), and what the target's storage says. At the
    /// target's location, unless `options` say that anything may be replaced:
    /// `NotASnapshot` and `WrongKind` for what is there and is none, `InvalidFormat`
    /// for what may as well be a gzip file of another program, and `AccessDenied`
    /// where it can't be looked at what is there.
    pub fn copy(
        &self,
        key: &str,
        target: &Self,
        target_key: &str,
        options: impl Into<CopyOptions>,
        mut progress: impl FnMut(u64),
    ) -> Result<Copied> {
        let options = options.into();
        let copied = Cell::new(0);
        let mut copy = || {
            let mut existing = None;
            let open = |metadata: &SnapshotMetadata| {
                copied.set(0);
                if options.digest.as_ref().is_some_and(|digest| *digest != metadata.digest) {
                    return Err(PersistError::new(ErrorCode::PreconditionFailed, "the snapshot was replaced meanwhile"));
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
                    Ok(Copied { metadata: SnapshotMetadata { key: info.key, etag: info.etag, ..metadata }, is_new: true })
                }
                (existing, None) => Ok(Copied { metadata: existing.unwrap_or(metadata), is_new: false }),
            }
        };
        self.logged("copy", key, || sent_whole(&mut copy), |copied| metadata_sizes(&copied.metadata))
    }

    /// The most memory, in bytes, that copying a snapshot of this stored size to
    /// another engine's storage takes at a time, beside an instance of the component.
    #[cfg(feature = "cli")]
    pub(crate) fn buffered_by_copy(&self, target: &Self, stored_size: u64) -> u64 {
        let chunk = u64::from(STORED_CHUNK).min(stored_size);
        self.storage.buffered(stored_size) + target.storage.buffered(stored_size) + chunk
    }

    /// The snapshot of this digest that is at a key, every byte of it checked; none
    /// where a copy has to be written. Fails where it may not be.
    fn copied_before(&self, key: &str, digest: &str, options: &CopyOptions) -> Result<Option<SnapshotMetadata>> {
        use ErrorCode::{
            AccessDenied, Integrity, InvalidFormat, LimitExceeded, NoKey, NotASnapshot, NotFound, UnsupportedFormat, Untrusted, WrongKind,
        };
        let found = match self.metadata(key) {
            // That is what its end says; its data may be damaged.
            Ok(found) if found.digest == digest => self.verify(key),
            found => found,
        };
        let fails_if_there = options.precondition == Precondition::IfAbsent;
        let what = match found {
            Ok(found) if found.digest == digest => return Ok(Some(found)),
            Ok(_) => "there is another snapshot already".to_owned(),
            Err(mut error) => {
                let needs_no_look = fails_if_there || options.replaces_anything;
                let what = match error.code() {
                    NotFound => return Ok(None),
                    // Who may write but not read. The storage knows whether something is
                    // there.
                    AccessDenied if needs_no_look => return Ok(None),
                    AccessDenied => {
                        let hint = "check the permissions, or replace what is there without looking at it, as with --force";
                        error.detail_mut().hint = Some(hint.to_owned());
                        return Err(error);
                    }
                    _ if may_be_another_kind(&error) && !needs_no_look => return Err(error),
                    Integrity | InvalidFormat => "what is there already is damaged",
                    LimitExceeded | NoKey | UnsupportedFormat | Untrusted => "what is there already can't be read",
                    NotASnapshot | WrongKind if needs_no_look => "there is something else already",
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

    /// What can still be had of a damaged snapshot: every block that is whole,
    /// or without a block table the front up to the break. It is unverified as
    /// a whole; the report says how much of it was checked, and what is missing.
    ///
    /// # Errors
    /// `NotFound`, `InvalidFormat` for what has no beginning of a snapshot, and
    /// what the storage says.
    pub fn salvage(&self, key: &str) -> Result<Salvager> {
        Salvager::open(self.guest()?, key)
    }

    /// Whether there is an object with this key, whatever it holds. An error
    /// is never reported as false.
    ///
    /// # Errors
    /// What the storage says.
    pub fn exists(&self, key: &str) -> Result<bool> {
        let ask = || self.guest()?.call(|persist, store| persist.persist_snapshot_snapshots().call_exists(store, key));
        self.logged("exists", key, ask, |_| (0, 0))
    }

    /// Deletes a snapshot, or whatever else has this key.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` by the precondition, and what the storage says.
    pub fn delete(&self, key: &str, precondition: Precondition) -> Result<()> {
        let precondition = precondition.into();
        let delete = || self.guest()?.call(|persist, store| persist.persist_snapshot_snapshots().call_delete(store, key, &precondition));
        self.logged("delete", key, delete, |()| (0, 0))
    }

    /// The snapshots whose keys begin with `prefix`, in the order of their
    /// keys. What can't be read is an entry too; an error of the storage is the
    /// last item.
    pub fn list(&self, prefix: &str) -> Snapshots {
        self.list_filtered(prefix, ListFilter::default())
    }

    /// All keys that begin with `prefix`, in the order of their bytes, whatever their
    /// objects hold. Ends after an error of the storage.
    pub fn keys(&self, prefix: &str) -> impl Iterator<Item = Result<String>> + Send + use<> {
        listing(&self.storage, prefix).map(|listed| match listed? {
            Listed::Object(info) => Ok(info.key),
            Listed::Unreadable { error, .. } => Err(error),
        })
    }

    /// As [`list`](Self::list), without the snapshots that the filter does not
    /// want. What can't be read is never left out.
    pub fn list_filtered(&self, prefix: &str, filter: ListFilter) -> Snapshots {
        Snapshots::new(self, prefix, filter)
    }
}

/// Sends something, and once more from its beginning if the upload that it went in
/// was gone before its end.
fn sent_whole<T>(mut send: impl FnMut() -> Result<T>) -> Result<T> {
    match send() {
        Err(error) if is_lost_upload(&error) => send(),
        sent => sent,
    }
}

/// What a copy may replace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// What must be true of the key that is copied to. A whole snapshot of the same
    /// digest is no conflict.
    pub precondition: Precondition,
    /// Whether also what is no snapshot is replaced.
    pub replaces_anything: bool,
    /// Copy only the snapshot that has this digest, and fail with `Conflict` if it was
    /// replaced meanwhile.
    pub digest: Option<String>,
}

impl From<Precondition> for CopyOptions {
    fn from(precondition: Precondition) -> Self {
        Self { precondition, ..Self::default() }
    }
}

/// What became of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The snapshot where it was copied to.
    pub metadata: SnapshotMetadata,
    /// False if it was there already.
    pub is_new: bool,
}

/// How often a snapshot that is replaced while it is opened is opened anew.
const OPEN_ATTEMPTS: u32 = 3;

/// Stored bytes that are handed to a verifier at a time.
const STORED_CHUNK: u32 = 1 << 20;

fn metadata_sizes(metadata: &SnapshotMetadata) -> (u64, u64) {
    (metadata.uncompressed_size, metadata.stored_size)
}

//! The one place where the library meets the WIT world `core`: every item
//! here passes a call on, in the other side's types.

// The macro writes unsafe code for the canonical ABI, and items without
// documentation; both are its own business.
#[allow(missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks, clippy::all)]
mod generated {
    wit_bindgen::generate!({ path: "../wit", world: "core" });
}

use std::cell::RefCell;

use generated::exports::persist::snapshot::{blocks, snapshots as wit};
use generated::persist::snapshot::storage as host;

use crate::codec::{BlockRef, Codec, Decoder, EncodedBlock, Encoder};
use crate::error::{Error, ErrorCode, Result};
use crate::metadata::{Metadata, SaveOptions};
use crate::restore::Restorer;
use crate::salvage::{Hole, Salvager};
use crate::save::Saver;
use crate::snapshots::{self, ListEntry, ListFilter};
use crate::storage::{ByteRange, End, ObjectInfo, Precondition, Reader, Storage, WriteOptions, Writer, one_by_one};
use crate::verify::{self, Verifier};

struct Component;

generated::export!(Component with_types_in generated);

persist_model::code_conversions!(generated::persist::snapshot::storage);

/// The storage that the host provides.
#[derive(Clone, Copy)]
struct HostStorage;

impl From<host::Error> for Error {
    fn from(error: host::Error) -> Self {
        let host::Error { code, retryable, key, message, details } = error;
        Self { code: code.into(), retryable, key, message, details }
    }
}

impl From<Error> for host::Error {
    fn from(error: Error) -> Self {
        let Error { code, retryable, key, message, details } = error;
        Self { code: code.into(), retryable, key, message, details }
    }
}

impl From<host::ObjectInfo> for ObjectInfo {
    fn from(info: host::ObjectInfo) -> Self {
        Self { key: info.key, size: info.size, etag: info.etag, modified: info.modified }
    }
}

impl From<Precondition> for host::Precondition {
    fn from(precondition: Precondition) -> Self {
        match precondition {
            Precondition::None => Self::None,
            Precondition::IfAbsent => Self::IfAbsent,
            Precondition::IfMatch(etag) => Self::IfMatch(etag),
        }
    }
}

impl From<host::Precondition> for Precondition {
    fn from(precondition: host::Precondition) -> Self {
        match precondition {
            host::Precondition::None => Self::None,
            host::Precondition::IfAbsent => Self::IfAbsent,
            host::Precondition::IfMatch(etag) => Self::IfMatch(etag),
        }
    }
}

impl Storage for HostStorage {
    type Writer = host::Writer;
    type Reader = host::Reader;

    fn open_write(&self, key: &str, options: WriteOptions) -> Result<host::Writer> {
        let options = host::WriteOptions {
            precondition: options.precondition.into(),
            object_size_hint: options.object_size_hint,
            content_type: options.content_type,
            attributes: options.attributes,
        };
        Ok(host::open_write(key, &options)?)
    }

    fn open_read(&self, key: &str, range: ByteRange, if_match: Option<&str>) -> Result<host::Reader> {
        let range = match range {
            ByteRange::All => host::ByteRange::All,
            ByteRange::Span { offset, length } => host::ByteRange::Span(host::Span { offset, length }),
            ByteRange::Suffix(length) => host::ByteRange::Suffix(length),
        };
        Ok(host::open_read(key, &host::ReadOptions { range, if_match: if_match.map(str::to_owned) })?)
    }

    fn read_ends(&self, keys: &[&str], length: u64) -> Result<Vec<End>> {
        if !host::capabilities().contains(host::CapabilitySet::READ_MANY) {
            return one_by_one(self, keys, length);
        }
        let request = |key: &&str| host::ReadRequest { key: (*key).to_owned(), range: host::ByteRange::Suffix(length), if_match: None };
        let answers = host::read_many(&keys.iter().map(request).collect::<Vec<_>>())?;
        if answers.len() != keys.len() {
            return Err(Error::new(ErrorCode::Io, format!("the storage gave {} answers to {} reads", answers.len(), keys.len())));
        }
        Ok(answers.into_iter().map(|answer| answer.map(|read| (read.info.into(), read.bytes)).map_err(Error::from)).collect())
    }

    fn stat(&self, key: &str) -> Result<ObjectInfo> {
        Ok(host::stat(key)?.into())
    }

    fn delete(&self, key: &str, precondition: Precondition) -> Result<()> {
        Ok(host::delete(key, &precondition.into())?)
    }

    fn list_objects(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>> {
        let objects = host::list_objects(prefix, start_after, limit)?;
        Ok(objects.into_iter().map(ObjectInfo::from).collect())
    }
}

impl Writer for host::Writer {
    fn write(&mut self, chunk: &[u8]) -> Result<()> {
        Ok(host::Writer::write(self, chunk)?)
    }

    fn commit(self) -> Result<ObjectInfo> {
        Ok(host::Writer::commit(self)?.into())
    }
}

impl Reader for host::Reader {
    fn info(&self) -> ObjectInfo {
        host::Reader::info(self).into()
    }

    fn read(&mut self, max: u32) -> Result<Vec<u8>> {
        Ok(host::Reader::read(self, max)?)
    }
}

impl From<wit::Codec> for Codec {
    fn from(codec: wit::Codec) -> Self {
        match codec {
            wit::Codec::Gzip => Self::Gzip,
            wit::Codec::Zstd => Self::Zstd,
        }
    }
}

impl From<Codec> for wit::Codec {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::Gzip => Self::Gzip,
            Codec::Zstd => Self::Zstd,
        }
    }
}

impl From<wit::SaveOptions> for SaveOptions {
    fn from(options: wit::SaveOptions) -> Self {
        Self {
            agent_id: options.agent_id,
            session_id: options.session_id,
            snapshot_index: options.snapshot_index,
            description: options.description,
            labels: options.labels,
            content_type: options.content_type,
            extra: options.extra,
            codec: options.codec.map(Codec::from),
            level: options.level,
            snapshot_id: options.snapshot_id,
            timestamp: options.timestamp,
            precondition: options.precondition.into(),
            state_size_hint: options.state_size_hint,
            attributes: options.attributes,
            host_hashes: options.host_hashes,
        }
    }
}

impl From<Metadata> for wit::Metadata {
    fn from(metadata: Metadata) -> Self {
        Self {
            key: metadata.key,
            kind: metadata.kind,
            snapshot_id: metadata.snapshot_id,
            agent_id: metadata.agent_id,
            session_id: metadata.session_id,
            snapshot_index: metadata.snapshot_index,
            timestamp: metadata.timestamp,
            description: metadata.description,
            labels: metadata.labels.into_iter().collect(),
            content_type: metadata.content_type,
            content_hash: metadata.content_hash,
            uncompressed_size: metadata.uncompressed_size,
            compressed_size: metadata.compressed_size,
            compression_algorithm: metadata.compression_algorithm.into(),
            format_version: metadata.format_version,
            producer: metadata.producer,
            extra: metadata.extra,
            seal: if metadata.is_sealed { wit::SealState::NotChecked } else { wit::SealState::None },
            encryption: wit::Encryption::None,
            root: metadata.root,
            digest: metadata.digest,
            etag: metadata.etag,
            stored_size: metadata.stored_size,
        }
    }
}

impl From<BlockRef> for wit::BlockRef {
    fn from(block: BlockRef) -> Self {
        Self {
            key: block.key,
            etag: block.etag,
            codec: block.codec.into(),
            offset: block.offset,
            prefix: block.prefix,
            frame_length: block.frame_length,
            suffix: block.suffix,
            length: block.length,
            hash: block.hash.to_vec(),
        }
    }
}

/// A hash that a host hands in, which has to have 32 bytes.
fn hash(bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| Error::argument(format!("a SHA-256 has 32 bytes, not {}", bytes.len())))
}

impl TryFrom<wit::EncodedBlock> for EncodedBlock {
    type Error = Error;

    fn try_from(block: wit::EncodedBlock) -> Result<Self> {
        Ok(Self { hash: hash(&block.hash)?, frame: block.frame, length: block.length, crc32: block.crc32 })
    }
}

impl TryFrom<wit::BlockRef> for BlockRef {
    type Error = Error;

    fn try_from(block: wit::BlockRef) -> Result<Self> {
        Ok(Self {
            key: block.key,
            etag: block.etag,
            codec: block.codec.into(),
            offset: block.offset,
            prefix: block.prefix,
            frame_length: block.frame_length,
            suffix: block.suffix,
            length: block.length,
            hash: hash(&block.hash)?,
        })
    }
}

impl wit::GuestSaver for RefCell<Saver<host::Writer>> {
    fn encoding(&self) -> wit::Encoding {
        let encoding = self.borrow().encoding();
        wit::Encoding { codec: encoding.codec.into(), level: encoding.level, block_size: encoding.block_size }
    }

    fn write(&self, chunk: Vec<u8>) -> std::result::Result<(), wit::Error> {
        Ok(self.borrow_mut().write(&chunk)?)
    }

    fn hash(&self, chunk: Vec<u8>) -> std::result::Result<(), wit::Error> {
        Ok(self.borrow_mut().hash(&chunk)?)
    }

    fn append(&self, block: wit::EncodedBlock) -> std::result::Result<(), wit::Error> {
        Ok(self.borrow_mut().append(&block.try_into()?)?)
    }

    fn append_hashed(&self, block: wit::EncodedBlock) -> std::result::Result<(), wit::Error> {
        Ok(self.borrow_mut().append_hashed(&block.try_into()?)?)
    }

    fn set_content_hash(&self, content_hash: Vec<u8>) -> std::result::Result<(), wit::Error> {
        Ok(self.borrow_mut().set_content_hash(hash(&content_hash)?)?)
    }

    fn commit(saver: wit::Saver) -> std::result::Result<wit::Metadata, wit::Error> {
        Ok(saver.into_inner::<Self>().into_inner().commit()?.into())
    }
}

impl wit::GuestRestorer for RefCell<Restorer<HostStorage>> {
    fn metadata(&self) -> wit::Metadata {
        self.borrow().metadata().into()
    }

    fn read(&self, max: u32) -> std::result::Result<Vec<u8>, wit::Error> {
        Ok(self.borrow_mut().read(max)?)
    }

    fn block_count(&self) -> u32 {
        self.borrow().block_count()
    }

    fn plan(&self, first: u32, limit: u32) -> Vec<wit::BlockRef> {
        self.borrow().plan(first, limit).into_iter().map(wit::BlockRef::from).collect()
    }

    fn check(&self, content_hash: Vec<u8>, crc32: u32) -> std::result::Result<(), wit::Error> {
        Ok(self.borrow().check(hash(&content_hash)?, crc32)?)
    }
}

impl wit::GuestVerifier for RefCell<Verifier<HostStorage>> {
    fn metadata(&self) -> wit::Metadata {
        self.borrow().metadata().into()
    }

    fn write(&self, chunk: Vec<u8>) -> std::result::Result<(), wit::Error> {
        Ok(self.borrow_mut().write(&chunk)?)
    }

    fn finish(verifier: wit::Verifier) -> std::result::Result<wit::Metadata, wit::Error> {
        Ok(verifier.into_inner::<Self>().into_inner().finish()?.into())
    }
}

impl wit::GuestSalvager for RefCell<Salvager<HostStorage>> {
    fn read(&self, max: u32) -> std::result::Result<Vec<u8>, wit::Error> {
        Ok(self.borrow_mut().read(max)?)
    }

    fn report(&self) -> wit::SalvageReport {
        let report = self.borrow().report();
        wit::SalvageReport {
            metadata: report.metadata.map(wit::Metadata::from),
            codec: report.codec.into(),
            salvaged_size: report.salvaged_size,
            checked_size: report.checked_size,
            missing_size: report.missing_size,
            holes: report.holes.into_iter().map(wit::Hole::from).collect(),
            break_offset: report.break_offset,
            reason: report.reason.map(wit::Error::from),
        }
    }
}

impl From<Hole> for wit::Hole {
    fn from(hole: Hole) -> Self {
        let Hole { state_offset, length, object_offset } = hole;
        Self { state_offset, length, object_offset }
    }
}

impl From<wit::ListFilter> for ListFilter {
    fn from(filter: wit::ListFilter) -> Self {
        let wit::ListFilter { agent_id, session_id, labels, since, until } = filter;
        Self { agent_id, session_id, labels, since, until }
    }
}

impl wit::Guest for Component {
    type Saver = RefCell<Saver<host::Writer>>;
    type Restorer = RefCell<Restorer<HostStorage>>;
    type Verifier = RefCell<Verifier<HostStorage>>;
    type Salvager = RefCell<Salvager<HostStorage>>;

    fn open_saver(key: String, options: wit::SaveOptions) -> std::result::Result<wit::Saver, wit::Error> {
        Ok(wit::Saver::new(RefCell::new(Saver::open(&HostStorage, &key, options.into())?)))
    }

    fn open_restorer(key: String, options: wit::RestoreOptions) -> std::result::Result<wit::Restorer, wit::Error> {
        Ok(wit::Restorer::new(RefCell::new(Restorer::open(&HostStorage, &key, options.check_content_hash)?)))
    }

    fn open_verifier(key: String) -> std::result::Result<wit::Verifier, wit::Error> {
        Ok(wit::Verifier::new(RefCell::new(Verifier::open(&HostStorage, &key)?)))
    }

    fn open_salvager(key: String) -> std::result::Result<wit::Salvager, wit::Error> {
        Ok(wit::Salvager::new(RefCell::new(Salvager::open(&HostStorage, &key)?)))
    }

    fn save(key: String, state: Vec<u8>, options: wit::SaveOptions) -> std::result::Result<wit::Metadata, wit::Error> {
        Ok(snapshots::save(&HostStorage, &key, &state, options.into())?.into())
    }

    fn save_text(key: String, state: String, options: wit::SaveOptions) -> std::result::Result<wit::Metadata, wit::Error> {
        Self::save(key, state.into_bytes(), options)
    }

    fn restore(key: String) -> std::result::Result<Vec<u8>, wit::Error> {
        Ok(snapshots::restore(&HostStorage, &key)?)
    }

    fn restore_text(key: String) -> std::result::Result<String, wit::Error> {
        let state = snapshots::restore(&HostStorage, &key)?;
        String::from_utf8(state).map_err(|_| Error::new(ErrorCode::Unsupported, "the state is not UTF-8 text").at(&key).into())
    }

    fn get_metadata(key: String) -> std::result::Result<wit::Metadata, wit::Error> {
        Ok(snapshots::metadata(&HostStorage, &key)?.into())
    }

    fn verify(key: String) -> std::result::Result<wit::Metadata, wit::Error> {
        Ok(verify::verify(&HostStorage, &key)?.into())
    }

    fn exists(key: String) -> std::result::Result<bool, wit::Error> {
        Ok(snapshots::exists(&HostStorage, &key)?)
    }

    fn delete(key: String, precondition: wit::Precondition) -> std::result::Result<(), wit::Error> {
        Ok(HostStorage.delete(&key, precondition.into()).map_err(|error| error.at(&key))?)
    }

    fn list_snapshots(
        prefix: String,
        start_after: Option<String>,
        limit: u32,
        filter: Option<wit::ListFilter>,
    ) -> std::result::Result<wit::ListPage, wit::Error> {
        let filter = filter.map(ListFilter::from).unwrap_or_default();
        let page = snapshots::list(&HostStorage, &prefix, start_after.as_deref(), limit, filter)?;
        let entries = page.entries.into_iter().map(|entry| match entry {
            ListEntry::Snapshot(metadata) => wit::ListEntry::Snapshot((*metadata).into()),
            ListEntry::Unreadable { info, error } => {
                let error = error.into();
                wit::ListEntry::Unreadable(wit::Unreadable { key: info.key, etag: info.etag, stored_size: info.size, error })
            }
        });
        Ok(wit::ListPage { entries: entries.collect(), next: page.next })
    }
}

thread_local! {
    /// The codec and level that `encode` was last called with: buffers and
    /// tables are used again for the next block.
    static ENCODER: RefCell<Option<((Codec, i32), Encoder)>> = const { RefCell::new(None) };
    static DECODER: RefCell<Decoder> = RefCell::default();
}

/// Encodes with what was made for the block before, if that was to be encoded
/// likewise.
fn with_encoder<T>(codec: Codec, level: i32, encode: impl FnOnce(&mut Encoder) -> Result<T>) -> Result<T> {
    ENCODER.with_borrow_mut(|cached| {
        let encoder = match cached {
            Some((found, encoder)) if *found == (codec, level) => encoder,
            _ => &mut cached.insert(((codec, level), Encoder::new(codec, level)?)).1,
        };
        encode(encoder)
    })
}

impl blocks::Guest for Component {
    fn encode(codec: wit::Codec, level: i32, plain: Vec<u8>) -> std::result::Result<wit::EncodedBlock, wit::Error> {
        let block = with_encoder(codec.into(), level, |encoder| encoder.encode(&plain))?;
        Ok(wit::EncodedBlock { frame: block.frame, length: block.length, crc32: block.crc32, hash: block.hash.to_vec() })
    }

    fn encode_frame(codec: wit::Codec, level: i32, plain: Vec<u8>) -> std::result::Result<Vec<u8>, wit::Error> {
        Ok(with_encoder(codec.into(), level, |encoder| encoder.encode_frame(&plain))?.0)
    }

    fn decode(block: wit::BlockRef, slice: Vec<u8>) -> std::result::Result<Vec<u8>, wit::Error> {
        let block = block.try_into()?;
        let mut out = Vec::new();
        DECODER.with_borrow_mut(|decoder| decoder.decode(&block, &slice, &mut out))?;
        Ok(out)
    }

    fn decode_hashed(block: wit::BlockRef, slice: Vec<u8>, found: Vec<u8>) -> std::result::Result<Vec<u8>, wit::Error> {
        let (block, found) = (block.try_into()?, hash(&found)?);
        let mut out = Vec::new();
        DECODER.with_borrow_mut(|decoder| decoder.decode_hashed(&block, &slice, found, &mut out))?;
        Ok(out)
    }
}

//! A step as an object: written from a document and frames, and read back.

use persist_paths::timeline::is_step_size;
use sha2::{Digest, Sha256};

use crate::codec::Codec;
use crate::error::{Error, ErrorCode, Result};
use crate::footer::Footer;
use crate::metadata::{Draft, Metadata};
use crate::no_footer::no_footer;
use crate::open::TAIL;
use crate::storage::{ByteRange, ObjectInfo, Storage, read_exact};
use crate::table::Table;
pub(crate) use crate::timeline::document::STEP;
use crate::timeline::document::{Base, Link, StepDocument};
use crate::timeline::edits::EditList;
use crate::timeline::frames::Frames;
use crate::timeline::record::Record;

/// The carriers of a step are those of zstd, whatever the codec of its frames: they are the
/// smallest, and no other tool reads a step.
pub(crate) const CARRIERS: Codec = Codec::Zstd;

/// What a step is made of.
pub(crate) struct Parts {
    pub(crate) draft: Draft,
    pub(crate) number: u64,
    pub(crate) parent: Option<[u8; 32]>,
    pub(crate) restates: Option<u64>,
    pub(crate) base: Option<Base>,
    pub(crate) links: Vec<Link>,
    pub(crate) edits: EditList,
    pub(crate) frames: Frames,
    pub(crate) codec: Codec,
    pub(crate) content_hash: [u8; 32],
}

/// A step that was read and checked, or written.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) info: ObjectInfo,
    pub(crate) root: [u8; 32],
    pub(crate) document: StepDocument,
    pub(crate) table: Table,
    pub(crate) footer: Footer,
    /// The last bytes of the object that were read.
    pub(crate) tail: Vec<u8>,
}

impl Parts {
    /// Returns the bytes that follow the data, which has `length` bytes, and the step that a
    /// reader would find in the object under this key.
    pub(crate) fn end(self, key: &str, length: u64) -> Result<(Vec<u8>, Step)> {
        let Frames { table, dictionaries, .. } = self.frames;
        let size = self.edits.state_size();
        let table_hash = Sha256::digest(table.bytes()).into();
        let document = self.draft.finish(self.codec, &table_hash, &self.content_hash, size, length, None);
        let document = StepDocument {
            document,
            number: self.number,
            parent: self.parent,
            restates: self.restates,
            base: self.base,
            links: self.links,
            edits: self.edits,
            dictionaries,
        };
        let payload = document.to_payload()?;
        let (footer, root) = Footer::new(CARRIERS, length, table.bytes(), &payload);
        let mut end = Vec::new();
        footer.carry(table.bytes(), &payload, &[], &mut end);
        let info = ObjectInfo { key: key.to_owned(), size: length + end.len() as u64, ..ObjectInfo::default() };
        Ok((end, Step { info, root, document, table, footer, tail: Vec::new() }))
    }
}

impl Step {
    /// Reads a step from the last bytes of its object, which has to be that of `number`. A
    /// marker in its place is `not-found`.
    pub(crate) fn parse<S: Storage>(storage: &S, info: ObjectInfo, tail: Vec<u8>, number: u64) -> Result<Self> {
        let key = info.key.clone();
        Self::parse_inner(storage, info, tail, number).map_err(|error| error.at(&key))
    }

    fn parse_inner<S: Storage>(storage: &S, info: ObjectInfo, tail: Vec<u8>, number: u64) -> Result<Self> {
        if !is_step_size(info.size) {
            return Err(Record::parse(&tail)?.in_place_of(number));
        }
        if (tail.len() as u64) < info.size.min(TAIL) {
            return Err(Error::short_read(tail.len() as u64, info.size.min(TAIL)));
        }
        let Some(footer) = Footer::parse(&tail, info.size)? else {
            let error = no_footer(storage, &info, &tail)?;
            return Err(match error.code {
                ErrorCode::NotASnapshot => Error::format("the step has no footer: it was cut short, or another file is in its place"),
                _ => error,
            });
        };
        footer.check_size(info.size)?;
        let checked = footer.uncarry(&tail, info.size)?;
        let rows = footer.table / crate::table::ROW;
        let document = StepDocument::parse(&checked.metadata, rows)?;
        if footer.codec != CARRIERS {
            return Err(Error::format("the sections of the step have the carriers of gzip"));
        }
        if document.number != number {
            return Err(Error::integrity(format!("the step says that it is number {}, not {number}", document.number)));
        }
        let (length, trailing) = (footer.table_length(), footer.trailing_length());
        let offset = info.size.saturating_sub(trailing as u64);
        let carriers = match tail.len().checked_sub(trailing) {
            Some(start) => tail.get(start..start + length).unwrap_or_default().to_vec(),
            None => {
                let span = ByteRange::Span { offset, length: length as u64 };
                read_exact(&mut storage.open_read(&info.key, span, info.etag.as_deref())?, length)?
            }
        };
        let bytes = footer.uncarry_table(&carriers, offset, &document.document.table_hash)?;
        let table = if rows == 0 { Table::default() } else { Table::parse(bytes, document.document.block_size)? };
        let frames: u64 = table.rows().map(|row| u64::from(row.frame_length)).sum();
        let sizes_agree = frames == footer.data && document.document.compressed_size == footer.data;
        if !sizes_agree || table.state_size() != document.edits.literals() {
            return Err(Error::format("the sizes in the footer, table and edit list of the step do not agree"));
        }
        Ok(Self { info, root: checked.root, document, table, footer, tail })
    }

    /// Returns the digest, if there is a seal.
    pub(crate) fn sealed_digest(&self) -> Option<String> {
        (self.footer.seal > 0).then(|| crate::hash::hex(&self.footer.digest))
    }

    /// Returns the metadata that users see.
    pub(crate) fn metadata(&self) -> Metadata {
        self.document.document.clone().into_metadata_of(STEP, &self.root, &self.footer, &self.info)
    }
}

/// Returns the metadata of a step from the last bytes of its object.
pub(crate) fn step_metadata<S: Storage>(storage: &S, info: ObjectInfo, tail: Vec<u8>, number: u64) -> Result<Metadata> {
    Step::parse(storage, info, tail, number).map(|step| step.metadata())
}

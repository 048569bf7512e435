//! Saves states: takes a state in one pass and writes a snapshot.

use persist_model::error::HINT;
use persist_paths::timeline::{self, is_reserved, step_name};
use sha2::{Digest, Sha256};

use crate::codec::{self, Codec, EncodedBlock, Encoder};
use crate::error::{Error, ErrorCode, Result};
use crate::footer::Footer;
use crate::limits::MAX_METADATA;
use crate::metadata::{Draft, Metadata, SaveOptions};
use crate::storage::{CHUNK, Storage, WriteOptions, Writer};
use crate::table::{ROW, Table};

/// A state of up to this many bytes is hashed here even if the host computes the hash.
/// This costs almost nothing, and reveals a host that hashes wrongly.
const CHEAP: u64 = 4 << 10;

/// How each block of a snapshot is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// The codec.
    pub codec: Codec,
    /// Its level.
    pub level: i32,
    /// The most bytes of state in a block. If the saver cuts the blocks, all except the
    /// last have exactly this many.
    pub block_size: u32,
}

/// How a saver gets its state. One saver accepts only one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Undecided,
    /// Through `write`: the saver cuts and encodes the blocks.
    Bytes,
    /// Through `hash` and `append`: the blocks were encoded elsewhere.
    Blocks,
    /// There was an error. The saver can only be dropped.
    Failed,
}

/// A state being saved. It holds one block, its frame and the table, whatever the size of
/// the state. If it is dropped without a commit, it stores nothing.
pub struct Saver<W> {
    key: String,
    writer: W,
    encoding: Encoding,
    /// Created for the first block that is encoded here.
    encoder: Option<Encoder>,
    draft: Draft,
    input: Input,
    /// State that does not fill a block yet.
    block: Vec<u8>,
    /// Bytes of the file that were not handed to the storage yet.
    out: Vec<u8>,
    table: Table,
    /// The hash of the first `hashed` bytes of state: of all that came in, or if the host
    /// computes the content hash, only of as many as is cheap.
    content_hash: Sha256,
    hashed: u64,
    /// Whether the host computes the content hash, and the hash that it has set.
    host_hashes: bool,
    given_hash: Option<[u8; 32]>,
    /// The bytes of state that came in through `write` or `hash`.
    taken: u64,
    /// CRC-32 and length of the blocks that are in the table.
    crc32: u32,
    appended: u64,
}

/// Refuses a name that belongs to a timeline: a snapshot there would destroy it.
fn check_no_step<S: Storage>(storage: &S, key: &str) -> Result<()> {
    match key.strip_suffix(timeline::HINT) {
        _ if is_reserved(key) => {}
        Some(folder) if (folder.is_empty() || folder.ends_with('/')) && has_steps(storage, folder) => {}
        _ => return Ok(()),
    }
    Err(Error::argument("this name belongs to a timeline").with(HINT, "give it another name, or append the state to a timeline"))
}

/// Whether a folder is a timeline: something is always there for its first step.
fn has_steps<S: Storage>(storage: &S, folder: &str) -> bool {
    storage.stat(&format!("{folder}{}", step_name(1))).is_ok()
}

impl<W: Writer> Saver<W> {
    /// Starts a save: checks the arguments and opens the storage for writing.
    pub fn open<S: Storage<Writer = W>>(storage: &S, key: &str, options: SaveOptions) -> Result<Self> {
        Self::open_inner(storage, key, options).map_err(|error| error.at(key))
    }

    fn open_inner<S: Storage<Writer = W>>(storage: &S, key: &str, options: SaveOptions) -> Result<Self> {
        check_no_step(storage, key)?;
        let codec = options.codec.unwrap_or_else(|| Codec::for_key(key));
        let level = codec.level(options.level)?;
        let draft = Draft::new(&options)?;
        let writer = storage.open_write(
            key,
            WriteOptions {
                precondition: options.precondition,
                object_size_hint: options.state_size_hint.map(|size| most_of_object(codec, size)),
                content_type: Some(codec.media_type().to_owned()),
                attributes: options.attributes,
            },
        )?;
        Ok(Self {
            key: key.to_owned(),
            writer,
            encoding: Encoding { codec, level, block_size: codec.block_size() },
            encoder: None,
            draft,
            input: Input::Undecided,
            block: Vec::new(),
            out: codec.header().to_vec(),
            table: Table::default(),
            content_hash: Sha256::new(),
            hashed: 0,
            host_hashes: options.host_hashes,
            given_hash: None,
            taken: 0,
            crc32: 0,
            appended: 0,
        })
    }

    /// Returns how blocks have to be encoded.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Takes the next bytes of the state, any number of them.
    pub fn write(&mut self, chunk: &[u8]) -> Result<()> {
        self.step(Input::Bytes, |saver| saver.write_bytes(chunk))
    }

    /// Takes the next bytes of the state for the content hash only.
    pub fn hash(&mut self, chunk: &[u8]) -> Result<()> {
        self.step(Input::Blocks, |saver| {
            if saver.host_hashes {
                return Err(Error::argument("nothing can be hashed here: host-hashes says that the host computes the content hash"));
            }
            saver.update_hash(chunk);
            Ok(())
        })
    }

    /// Takes the next block, which was encoded elsewhere, and checks the hash of its
    /// frame.
    pub fn append(&mut self, block: &EncodedBlock) -> Result<()> {
        self.step(Input::Blocks, |saver| {
            block.check_lengths(saver.encoding.block_size)?;
            block.check_hash()?;
            saver.push_encoded(block)
        })
    }

    /// Takes the next block, which was encoded elsewhere, and trusts its hash.
    pub fn append_hashed(&mut self, block: &EncodedBlock) -> Result<()> {
        self.step(Input::Blocks, |saver| {
            block.check_lengths(saver.encoding.block_size)?;
            saver.push_encoded(block)
        })
    }

    /// Takes the SHA-256 of the whole state from a host that is trusted to compute it.
    /// Allowed once, and only if the options announced it.
    pub fn set_content_hash(&mut self, hash: [u8; 32]) -> Result<()> {
        self.step(self.input, |saver| {
            if !saver.host_hashes || saver.given_hash.is_some() {
                return Err(Error::argument("the content hash can be set only once, and only with host-hashes"));
            }
            saver.given_hash = Some(hash);
            Ok(())
        })
    }

    /// Completes the snapshot and makes it visible.
    pub fn commit(self) -> Result<Metadata> {
        let key = self.key.clone();
        self.commit_inner().map_err(|error| error.at(&key))
    }

    fn step(&mut self, input: Input, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let allowed = input != Input::Failed && (self.input == input || self.input == Input::Undecided);
        self.input = Input::Failed;
        let done = if allowed {
            work(self)
        } else {
            Err(Error::argument("this saver has failed, or has already been given its state in another way: it can only be dropped"))
        };
        done.map_err(|error| error.at(&self.key))?;
        self.input = input;
        Ok(())
    }

    fn update_hash(&mut self, chunk: &[u8]) {
        self.taken += chunk.len() as u64;
        if !self.host_hashes || self.taken <= CHEAP {
            self.content_hash.update(chunk);
            self.hashed = self.taken;
        }
    }

    /// Returns the content hash of the state, all of which has come in.
    fn content_hash(&self) -> Result<[u8; 32]> {
        let is_hashed = self.hashed == self.appended;
        let computed = || self.content_hash.clone().finalize().into();
        if !self.host_hashes {
            return if is_hashed {
                Ok(computed())
            } else {
                Err(Error::argument(format!("{} bytes of state were hashed, but {} were appended", self.hashed, self.appended)))
            };
        }
        let given = self
            .given_hash
            .ok_or_else(|| Error::argument("host-hashes says that the host sets the content hash, but the host did not set it"))?;
        if is_hashed && given != computed() {
            return Err(Error::integrity("the content hash from the host does not match the state")
                .with("expected", crate::hash::hex(&computed()))
                .with("found", crate::hash::hex(&given)));
        }
        Ok(given)
    }

    fn write_bytes(&mut self, mut chunk: &[u8]) -> Result<()> {
        self.update_hash(chunk);
        let block_size = self.encoding.block_size as usize;
        while !chunk.is_empty() {
            if self.block.is_empty()
                && let Some((block, rest)) = chunk.split_at_checked(block_size)
            {
                // A whole block: encode it without a copy.
                self.encode(block)?;
                chunk = rest;
                continue;
            }
            let room = block_size - self.block.len();
            let (now, rest) = chunk.split_at(room.min(chunk.len()));
            // The buffer doubles up to a block, so small states need little memory.
            self.block.extend_from_slice(now);
            chunk = rest;
            if self.block.len() == block_size {
                let mut block = std::mem::take(&mut self.block);
                self.encode(&block)?;
                block.clear();
                self.block = block;
            }
        }
        Ok(())
    }

    fn encode(&mut self, block: &[u8]) -> Result<()> {
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(Encoder::new(self.encoding.codec, self.encoding.level)?),
        };
        let start = self.out.len();
        encoder.encode_to(block, &mut self.out)?;
        let frame = self.out.get(start..).unwrap_or_default();
        let hash = Sha256::digest(frame).into();
        let crc32 = if self.encoding.codec.needs_crc32() { codec::crc32(0, block) } else { 0 };
        let length = u32::try_from(block.len()).unwrap_or(u32::MAX);
        self.push(frame.len(), length, crc32, &hash)
    }

    fn push_encoded(&mut self, block: &EncodedBlock) -> Result<()> {
        self.out.extend_from_slice(&block.frame);
        self.push(block.frame.len(), block.length, block.crc32, &block.hash)
    }

    /// Adds the block whose frame is at the end of `out` to the table.
    fn push(&mut self, frame_length: usize, length: u32, crc32: u32, hash: &[u8; 32]) -> Result<()> {
        self.table.push(frame_length, length, hash)?;
        if self.encoding.codec.needs_crc32() {
            self.crc32 = codec::crc32_combine(self.crc32, crc32, u64::from(length));
        }
        self.appended += u64::from(length);
        self.flush(CHUNK / 4)
    }

    /// Hands `out` to the storage if it has at least `least` bytes.
    fn flush(&mut self, least: usize) -> Result<()> {
        if self.out.len() < least {
            return Ok(());
        }
        for chunk in self.out.chunks(CHUNK) {
            self.writer.write(chunk)?;
        }
        self.out.clear();
        Ok(())
    }

    fn commit_inner(mut self) -> Result<Metadata> {
        if self.input == Input::Failed {
            return Err(Error::argument("a saver that failed can't be committed"));
        }
        let block = std::mem::take(&mut self.block);
        if !block.is_empty() || self.table.len() == 0 {
            self.encode(&block)?;
        }
        let content_hash = self.content_hash()?;
        let codec = self.encoding.codec;
        let trailer = codec.trailer(self.crc32, self.appended);
        let data_length = self.table.data_length(codec, &trailer);
        let document = self.draft.clone().finish(
            codec,
            &Sha256::digest(self.table.bytes()).into(),
            &content_hash,
            self.appended,
            data_length,
            codec.needs_crc32().then_some(self.crc32),
        );
        let json = document.to_json()?;
        let (footer, root) = Footer::new(codec, data_length, self.table.bytes(), &json);
        self.out.extend_from_slice(&trailer);
        footer.carry(self.table.bytes(), &json, &[], &mut self.out);
        self.flush(0)?;
        let stored_size = data_length + footer.trailing_length() as u64;
        let info = self.writer.commit()?;
        if info.size != stored_size {
            // It is committed all the same.
            let message = format!("the storage has {} of the {stored_size} bytes that were written: the object is damaged", info.size);
            return Err(Error::new(ErrorCode::OutcomeUnknown, message));
        }
        Ok(document.into_metadata(&root, &footer, &info))
    }
}

/// The largest possible snapshot of a state of this size, in bytes.
fn most_of_object(codec: Codec, state_size: u64) -> u64 {
    /// Header, trailer, footer and carriers, without those of the rows.
    const AROUND: u64 = 1024;
    let block_size = u64::from(codec.block_size());
    let blocks = state_size.div_ceil(block_size).max(1);
    let frames = blocks.saturating_mul(u64::from(Codec::max_frame_length(codec.block_size())));
    // A row, and its share of the carriers.
    let rows = blocks.saturating_mul(ROW as u64 + 1);
    frames.saturating_add(rows).saturating_add(MAX_METADATA as u64 + AROUND)
}

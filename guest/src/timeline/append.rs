//! Appends a state to a timeline as its next step.

use sha2::{Digest, Sha256};

use crate::codec::Codec;
use crate::error::{Error, ErrorCode, Result};
use crate::metadata::{Draft, SaveOptions};
use crate::storage::{Precondition, Storage};
use crate::timeline::chain::{Chain, may_repeat};
use crate::timeline::document::{Base, Link, MAX_LINKS};
use crate::timeline::edits::EditList;
use crate::timeline::find::find;
use crate::timeline::frames::{Frames, encode};
use crate::timeline::loader::has_few_pieces;
use crate::timeline::names::{Folder, MAX_NUMBER};
use crate::timeline::pieces::Pieces;
use crate::timeline::record;
use crate::timeline::step::{Parts, Step};

/// How many steps of one size are merged into one of the next, and how much larger each
/// size is than the one before.
const FAN_OUT: u64 = 32;

/// Steps with up to this many literal bytes have the lowest size.
const LOWEST: u64 = 512;

/// Steps with more literal bytes are merged only if there would be too many links.
const LARGE: u64 = 64 << 10;

/// The most bytes of an edit list, as it is stored.
const MAX_EDITS: usize = 24 << 10;

/// A state starts anew if the steps that it would depend on hold this many times as many
/// bytes as it has, and more than [`SMALL_STATE`].
const DEAD: u64 = 3;
const SMALL_STATE: u64 = 16 << 10;

/// The newest step of a timeline, with all that the next one needs.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    chain: Chain,
    content: Content,
}

/// The content of a state.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// All of it.
    Bytes(Vec<u8>),
    /// Of a large state, where its pieces are.
    Pieces(Pieces),
}

/// What the next step follows.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// A step.
    Head(Head),
    /// No step: the timeline is new, or was deleted. `number` is free.
    Start { number: u64, parent: Option<[u8; 32]> },
}

/// A size class of steps: 0 for the smallest.
fn tier(literals: u64) -> u32 {
    literals.div_ceil(LOWEST).max(1).ilog(FAN_OUT)
}

impl Head {
    /// Keeps the state and the documents of a chain. What was read of its objects is
    /// dropped, since an append reads nothing.
    pub(crate) fn new(mut chain: Chain, content: Content) -> Self {
        chain.steps.iter_mut().for_each(|step| step.tail = Vec::new());
        Self { chain, content }
    }

    /// Keeps all of the state.
    pub(crate) fn keep(&mut self, state: Vec<u8>) {
        self.content = Content::Bytes(state);
    }

    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    /// Whether a step may depend on this one without being compared as a whole.
    pub(crate) fn may_be_base(&self) -> bool {
        // What such a step copies may be anywhere, so there has to be room for more pieces.
        self.steps().len() < MAX_LINKS && self.literals() <= DEAD * self.chain.state_size() && has_few_pieces(self.steps().iter(), 4)
    }

    /// How many literal bytes a step that depends on this one can be made from.
    pub(crate) fn literals(&self) -> u64 {
        self.chain.literals()
    }

    fn steps(&self) -> &[Step] {
        &self.chain.steps
    }

    pub(crate) fn step(&self) -> Option<&Step> {
        self.steps().first()
    }

    fn number(&self) -> u64 {
        self.step().map_or(0, |step| step.document.number)
    }

    /// Returns how many of the newest steps a step with this many literal bytes absorbs.
    fn merged(&self, literals: u64) -> usize {
        let sizes: Vec<u64> = self.steps().iter().map(|step| step.document.edits.literals()).collect();
        let (mut count, mut size) = (0, literals);
        loop {
            let tier = tier(size);
            let newest = sizes.iter().skip(count);
            let run: Vec<u64> = newest.copied().take_while(|size| *size <= LARGE && self::tier(*size) <= tier).collect();
            if (run.len() as u64) < FAN_OUT - 1 {
                break;
            }
            count += run.len();
            size += run.iter().sum::<u64>();
        }
        // The bound on links: merge half of them, so that it is not met again at once.
        if sizes.len() - count >= MAX_LINKS { count.max(MAX_LINKS / 2) } else { count }
    }

    /// Returns a state as edits of the oldest of the newest steps that it does not absorb,
    /// with the number of absorbed steps.
    fn edits(&self, state: &[u8]) -> (EditList, usize) {
        let Content::Bytes(base) = &self.content else { return (EditList::literal(state.len() as u64), self.steps().len()) };
        let near = find(base, state);
        let count = self.merged(near.literals());
        let absorbed = self.steps().iter().take(count);
        let edits = absorbed.fold(near.clone(), |edits, step| edits.over(&step.document.edits));
        let (edits, count) = if edits.stored_size() <= MAX_EDITS {
            (edits, count)
        } else if self.steps().len() <= MAX_LINKS {
            (near.limited(MAX_EDITS), 0)
        } else {
            (edits.limited(MAX_EDITS), count)
        };
        let left: u64 = self.steps().iter().skip(count).map(|step| step.document.edits.literals()).sum();
        let (held, size) = (left + edits.literals(), state.len() as u64);
        let is_mostly_dead = held > DEAD * size && held > SMALL_STATE;
        if is_mostly_dead || !may_repeat(size, held) || self.steps().len() == count {
            return (EditList::literal(state.len() as u64), self.steps().len());
        }
        (edits, count)
    }
}

/// A step that is ready to be written.
pub(crate) struct Prepared {
    pub(crate) step: Step,
    bytes: Vec<u8>,
    /// The steps that it depends on.
    older: Vec<Step>,
    attributes: Vec<(String, String)>,
}

impl Known {
    /// The number of the next step.
    pub(crate) fn next(&self) -> u64 {
        match self {
            Self::Head(head) => head.number() + 1,
            Self::Start { number, .. } => *number,
        }
    }

    pub(crate) fn head(&self) -> Option<&Head> {
        match self {
            Self::Head(head) => Some(head),
            Self::Start { .. } => None,
        }
    }

    /// Encodes a state as the next step. `content_hash` is that of the state, if the caller
    /// has computed it.
    pub(crate) fn prepare(&self, folder: &Folder, state: &[u8], options: &SaveOptions, content_hash: Option<[u8; 32]>) -> Result<Prepared> {
        let whole = || EditList::literal(state.len() as u64);
        let hash = content_hash.unwrap_or_else(|| Sha256::digest(state).into());
        let Some(head) = self.head() else { return self.edited(folder, state, options, hash, whole(), 0) };
        let (edits, absorbed) = head.edits(state);
        if absorbed < head.steps().len() {
            match self.edited(folder, state, options, hash, edits, absorbed) {
                Ok(prepared) if prepared.has_few_pieces() => return Ok(prepared),
                // It has too many pieces, or no room for its metadata.
                Err(error) if error.code != ErrorCode::InvalidArgument => return Err(error),
                _ => {}
            }
        }
        self.edited(folder, state, options, hash, whole(), head.steps().len())
    }

    /// Encodes a state as edits that absorb this many of the newest steps.
    fn edited(
        &self,
        folder: &Folder,
        state: &[u8],
        options: &SaveOptions,
        hash: [u8; 32],
        edits: EditList,
        absorbed: usize,
    ) -> Result<Prepared> {
        let head = self.head();
        let older: Vec<Step> = head.map(|head| head.steps().iter().skip(absorbed).cloned().collect()).unwrap_or_default();
        let base_state = head.filter(|_| absorbed == 0 && !older.is_empty()).and_then(|head| match &head.content {
            Content::Bytes(bytes) => Some(bytes.as_slice()),
            Content::Pieces(_) => None,
        });
        let codec = options.codec.unwrap_or(Codec::Zstd);
        let frames = encode(&edits, state, base_state, codec, codec.level(options.level)?)?;
        self.prepared(folder, options, Encoded { edits, frames, older, codec, hash })
    }

    fn prepared(&self, folder: &Folder, options: &SaveOptions, mut encoded: Encoded) -> Result<Prepared> {
        let mut data = std::mem::take(&mut encoded.frames.data);
        let older = encoded.older.clone();
        let (end, step) = self.end_of(folder, options, None, encoded, data.len() as u64)?;
        data.extend(end);
        Ok(Prepared { step, bytes: data, older, attributes: options.attributes.clone() })
    }

    /// Returns the steps that a step can depend on.
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.head().map(|head| head.steps().to_vec()).unwrap_or_default()
    }

    /// Returns what follows the data of the next step, which has this length, and the step
    /// that a reader would find.
    pub(crate) fn end_of(
        &self,
        folder: &Folder,
        options: &SaveOptions,
        restated: Option<&Step>,
        encoded: Encoded,
        data: u64,
    ) -> Result<(Vec<u8>, Step)> {
        let Encoded { edits, frames, older, codec, hash } = encoded;
        let number = self.next();
        if number > MAX_NUMBER {
            return Err(Error::new(ErrorCode::LimitExceeded, "the timeline has no numbers left"));
        }
        let draft = match restated {
            Some(step) => Draft::of(&step.document.document),
            // The place in the session is the number.
            None => Draft::new(&SaveOptions { snapshot_index: number, ..options.clone() })?,
        };
        let base = older.first();
        let parts = Parts {
            draft,
            number,
            parent: match self {
                Self::Head(head) => head.steps().first().map(|step| step.root),
                Self::Start { parent, .. } => *parent,
            },
            restates: restated.map(|step| step.document.number),
            base: base.map(|step| Base { number: step.document.number, root: step.root, size: step.document.edits.state_size() }),
            links: older.iter().map(|step| Link { number: step.document.number, kib: step.info.size.div_ceil(1024) }).collect(),
            edits,
            frames,
            codec,
            content_hash: hash,
        };
        parts.end(&folder.step(number), data)
    }
}

/// A state as it is stored.
pub(crate) struct Encoded {
    pub(crate) edits: EditList,
    pub(crate) frames: Frames,
    pub(crate) older: Vec<Step>,
    pub(crate) codec: Codec,
    pub(crate) hash: [u8; 32],
}

impl Prepared {
    /// Whether readers accept the number of pieces.
    fn has_few_pieces(&self) -> bool {
        has_few_pieces(std::iter::once(&self.step).chain(&self.older), 1)
    }

    /// Writes the step, if no other has its number.
    pub(crate) fn write<S: Storage>(&mut self, storage: &S) -> Result<()> {
        let attributes = self.attributes.clone();
        self.step.info =
            record::write(storage, &self.step.info.key, &self.bytes, Precondition::IfAbsent, "application/octet-stream", attributes)?;
        Ok(())
    }

    /// Returns the written step as the newest one, without its state, which the caller keeps.
    pub(crate) fn into_head(self) -> Head {
        Head::new(Chain { steps: std::iter::once(self.step).chain(self.older).collect() }, Content::Bytes(Vec::new()))
    }
}

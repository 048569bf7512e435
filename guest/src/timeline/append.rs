//! Appends a state to a timeline as its next step.

use sha2::{Digest, Sha256};

use crate::codec::Codec;
use crate::error::{Error, ErrorCode, Result};
use crate::metadata::{Draft, Metadata, SaveOptions};
use crate::storage::{CHUNK, Precondition, Storage, WriteOptions, Writer as _};
use crate::timeline::chain::Chain;
use crate::timeline::document::{Base, Link, MAX_LINKS, MAX_NUMBER};
use crate::timeline::edits::EditList;
use crate::timeline::find::find;
use crate::timeline::frames::encode;
use crate::timeline::step::{Parts, Step, key};

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
    state: Vec<u8>,
}

/// A size class of steps: 0 for the smallest.
fn tier(literals: u64) -> u32 {
    literals.div_ceil(LOWEST).max(1).ilog(FAN_OUT)
}

impl Head {
    /// Keeps the state and the documents of a chain. What was read of its objects is
    /// dropped, since an append reads nothing.
    pub(crate) fn new(mut chain: Chain, state: Vec<u8>) -> Self {
        chain.steps.iter_mut().for_each(|step| step.tail = Vec::new());
        Self { chain, state }
    }

    fn steps(&self) -> &[Step] {
        &self.chain.steps
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
        let near = find(&self.state, state);
        let count = self.merged(near.literals());
        let absorbed = self.steps().iter().take(count);
        let edits = absorbed.fold(near.clone(), |edits, step| edits.over(&step.document.edits));
        let (edits, count) = if edits.stored_size() <= MAX_EDITS { (edits, count) } else { (near.limited(MAX_EDITS), 0) };
        let left: u64 = self.steps().iter().skip(count).map(|step| step.document.edits.literals()).sum();
        let held = left + edits.literals();
        if held > DEAD * state.len() as u64 && held > SMALL_STATE || self.steps().len() == count {
            return (EditList::literal(state.len() as u64), self.steps().len());
        }
        (edits, count)
    }
}

/// Writes a state as the step after `head`, or as the first one. Fails with
/// `already-exists` if another writer has taken the number.
pub(crate) fn append<S: Storage>(
    storage: &S,
    prefix: &str,
    head: Option<&Head>,
    state: Vec<u8>,
    options: &SaveOptions,
) -> Result<(Head, Metadata)> {
    let codec = options.codec.unwrap_or(Codec::Zstd);
    let level = codec.level(options.level)?;
    let newest = head.and_then(|head| head.steps().first());
    let number = newest.map_or(0, |step| step.document.number) + 1;
    if number > MAX_NUMBER {
        return Err(Error::new(ErrorCode::LimitExceeded, "the timeline has no numbers left"));
    }
    let (edits, absorbed) = head.map_or_else(|| (EditList::literal(state.len() as u64), 0), |head| head.edits(&state));
    let older: Vec<Step> = head.map(|head| head.steps().iter().skip(absorbed).cloned().collect()).unwrap_or_default();
    let base = older.first();
    let base_state = head.filter(|_| absorbed == 0 && base.is_some()).map(|head| head.state.as_slice());
    let frames = encode(&edits, &state, base_state, codec, level)?;
    let parts = Parts {
        draft: Draft::new(options)?,
        number,
        parent: newest.map(|step| step.root),
        base: base.map(|step| Base { number: step.document.number, root: step.root, size: step.document.edits.state_size() }),
        links: older.iter().map(|step| Link { number: step.document.number, kib: step.info.size.div_ceil(1024) }).collect(),
        edits,
        frames,
        codec,
        content_hash: Sha256::digest(&state).into(),
    };
    let key = key(prefix, number);
    let (bytes, mut step) = parts.write(&key)?;
    let write = WriteOptions {
        precondition: Precondition::IfAbsent,
        object_size_hint: Some(bytes.len() as u64),
        content_type: Some("application/octet-stream".to_owned()),
        attributes: options.attributes.clone(),
    };
    let mut writer = storage.open_write(&key, write)?;
    for chunk in bytes.chunks(CHUNK) {
        writer.write(chunk)?;
    }
    step.info = writer.commit()?;
    let metadata = step.metadata();
    let steps = std::iter::once(step).chain(older).collect();
    Ok((Head::new(Chain { steps }, state), metadata))
}

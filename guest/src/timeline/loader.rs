//! Puts a state together from the frames of the steps that it depends on, range by range.

use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorCode, Result};
use crate::hash::hex;
use crate::storage::Storage;
use crate::timeline::chain::Chain;
use crate::timeline::document::Range;
use crate::timeline::found::Found;
use crate::timeline::layers::{Layer, MAX_PIECES, Needed, Piece, merged, too_slow, total};
use crate::timeline::numbered::Numbered;
use crate::timeline::step::Step;
use crate::timeline::stored::Stored;

/// How many bytes of a state are put together at a time.
const PIECE: u64 = 8 << 20;

/// The most literal bytes that a range is made from, with dictionaries. They are held at the
/// same time.
const MAX_HELD: u64 = 32 << 20;

/// The most bytes of one base's state that a range needs: its own, and dictionaries.
const MAX_NEEDED: u64 = 2 * PIECE;

/// What is needed of a base is put together once and kept if newer steps repeat more bytes of
/// it than this, or copy neighbouring bytes in more runs than this: going down to the oldest
/// step for each of them would take long.
const MAX_REPEATED: u64 = 16 << 10;

/// How many bytes may be decoded for one byte of state, over the whole state. A range
/// needs frames that hold more than its own bytes, and the next range may need them again.
const MAX_DECODED: u64 = 64;

/// Returns a state in order, a range at a time. It holds one range, what that needs of each
/// step, and one frame, whatever the size of the state.
pub(crate) struct Loader {
    chain: Chain,
    layers: Vec<Layer>,
    /// The next byte of the state.
    at: u64,
    hash: Option<Sha256>,
    /// How many more bytes may be decoded.
    budget: u64,
}

/// How many bytes may be decoded for the state.
fn budget(chain: &Chain) -> u64 {
    chain.state_size().saturating_mul(MAX_DECODED).saturating_add(64 << 20)
}

/// Whether no range of the state that these steps make needs more than one in `part` of the
/// pieces that a reader allows.
pub(crate) fn has_few_pieces<'a>(steps: impl Iterator<Item = &'a Step> + Clone, part: usize) -> bool {
    let most = MAX_PIECES / part;
    // At most so many: a range is split where a run of any newer step begins, or by its
    // dictionaries. Usually that is enough to know.
    let (mut ranges, mut pieces) = (1_usize, 0_usize);
    for step in steps.clone() {
        ranges += step.document.edits.runs().len();
        pieces += 2 * ranges + step.table.len();
        ranges += step.document.dictionaries.iter().map(Vec::len).sum::<usize>();
    }
    pieces <= most || Loader::new(Chain { steps: steps.cloned().collect() }, false).frames_of(most).is_ok()
}

impl Loader {
    /// With `hashes`, the end is reached only if the state has the right content hash.
    pub(crate) fn new(chain: Chain, hashes: bool) -> Self {
        let layers = chain.steps.iter().map(Layer::of).collect();
        let budget = budget(&chain);
        Self { chain, layers, at: 0, hash: hashes.then(Sha256::new), budget }
    }

    /// Returns a range of the state. Each range may take as much as a whole state.
    pub(crate) fn part_at<S: Storage>(&mut self, storage: &S, range: Range) -> Result<Vec<u8>> {
        self.budget = budget(&self.chain);
        self.read(storage, range)
    }

    /// Returns the next bytes of the state, and none at the end.
    pub(crate) fn next<S: Storage>(&mut self, storage: &S) -> Result<Vec<u8>> {
        let size = self.chain.state_size();
        let range = Range { start: self.at, length: PIECE.min(size - self.at) };
        let state = if range.length == 0 { Vec::new() } else { self.read(storage, range)? };
        self.at += range.length;
        if let Some(hash) = &mut self.hash {
            hash.update(&state);
        }
        // Before the last bytes are returned, so that nobody gets all of a wrong state.
        if self.at == size
            && let Some(hash) = self.hash.take()
        {
            self.check(hash.finalize().into())?;
        }
        Ok(state)
    }

    /// Checks the SHA-256 of the whole state.
    pub(crate) fn check(&self, content_hash: [u8; 32]) -> Result<()> {
        let Some(head) = self.chain.steps.first() else { return Ok(()) };
        let (expected, found) = (&head.document.document.content_hash, hex(&content_hash));
        if found == *expected {
            return Ok(());
        }
        let error = Error::integrity("the state does not match the content hash of the step");
        Err(error.with("expected", expected).with("found", found).at(&head.info.key))
    }

    /// Returns the whole state, which has at most `most` bytes.
    pub(crate) fn read_to_end<S: Storage>(&mut self, storage: &S, most: u64) -> Result<Vec<u8>> {
        let size = self.chain.state_size();
        let too_large = |what: String| Error::new(ErrorCode::LimitExceeded, what);
        if size > most {
            return Err(too_large(format!("the state has {size} bytes, but at most {most} are allowed here")));
        }
        let mut state = Vec::new();
        let room = usize::try_from(size).unwrap_or(usize::MAX);
        state.try_reserve_exact(room).map_err(|_| too_large(format!("no memory for a state of {size} bytes")))?;
        loop {
            let more = self.next(storage)?;
            if more.is_empty() {
                return Ok(state);
            }
            state.extend_from_slice(&more);
        }
    }

    /// Returns a range of the state.
    fn read<S: Storage>(&mut self, storage: &S, range: Range) -> Result<Vec<u8>> {
        let needed = self.needed(range, MAX_PIECES)?;
        let mut found = Found::new(&self.chain, &self.layers);
        let mut decoded = 0;
        // From the oldest step on, since dictionaries are older than their frames.
        for (depth, needed) in needed.iter().enumerate().rev() {
            decoded += found.load(storage, depth, needed)?;
            found.keep(depth, &needed.kept)?;
        }
        let mut state = Vec::with_capacity(usize::try_from(range.length).unwrap_or_default());
        found.read(0, range, &mut state)?;
        self.budget = self.budget.checked_sub(decoded).ok_or_else(|| too_slow(&self.chain))?;
        Ok(state)
    }

    /// Returns the frames of each step that the whole state needs, by their index.
    pub(crate) fn needed_frames(&self) -> Result<Vec<Numbered<()>>> {
        self.frames_of(MAX_PIECES)
    }

    fn frames_of(&self, most: usize) -> Result<Vec<Numbered<()>>> {
        let (mut all, mut budget) = (vec![Numbered::default(); self.layers.len()], self.budget);
        let size = self.chain.state_size();
        for start in (0..size).step_by(usize::try_from(PIECE).unwrap_or(usize::MAX)) {
            let range = Range { start, length: PIECE.min(size - start) };
            for ((all, needed), layer) in all.iter_mut().zip(self.needed(range, most)?).zip(&self.layers) {
                for frame in needed.frames.numbers() {
                    let length =
                        usize::try_from(frame).ok().and_then(|frame| layer.frames.get(frame)).map_or(0, |frame| frame.plain_length);
                    budget = budget.checked_sub(u64::from(length)).ok_or_else(|| too_slow(&self.chain))?;
                    all.insert(frame, ());
                }
            }
        }
        Ok(all)
    }

    /// Reads all frames of the newest step. Returns those that are not as they were written.
    pub(crate) fn damaged_frames<S: Storage>(&self, storage: &S) -> Result<Numbered<Error>> {
        let (Some(step), Some(layer)) = (self.chain.steps.first(), self.layers.first()) else { return Ok(Numbered::default()) };
        let (mut damaged, mut stored) = (Numbered::default(), Stored::default());
        for (index, frame) in layer.frames.iter().enumerate() {
            if !stored.holds(step, frame) {
                stored = Stored::read(storage, step, &mut layer.frames.iter().skip(index).copied())?;
            }
            if let Err(error) = stored.frame(step, frame) {
                damaged.insert(index as u64, error);
            }
        }
        Ok(damaged)
    }

    /// Returns the frames of each step that a range of the state needs, in at most this many
    /// pieces.
    fn needed(&self, range: Range, most: usize) -> Result<Vec<Needed>> {
        let mut all = Vec::with_capacity(self.layers.len());
        let (mut ranges, mut pieces, mut bytes, mut held, mut repeated) = (vec![range], 0_usize, 0_u64, 0_u64, 0_u64);
        for (layer, step) in self.layers.iter().zip(&self.chain.steps) {
            let (mut needed, mut below, mut literals) = (Needed::default(), Vec::new(), Vec::new());
            let (bytes_asked, runs_asked) = (total(&ranges), ranges.len());
            let ranges_once = merged(ranges);
            let bytes_once = total(&ranges_once);
            if bytes_once > MAX_NEEDED {
                return Err(too_slow(&self.chain));
            }
            repeated += bytes_asked - bytes_once + (runs_asked - ranges_once.len()) as u64;
            if repeated > MAX_REPEATED {
                repeated = 0;
                needed.kept.clone_from(&ranges_once);
            }
            for range in ranges_once {
                for piece in layer.runs.pieces(range) {
                    pieces += 1;
                    if pieces > most {
                        return Err(too_slow(&self.chain));
                    }
                    match piece {
                        Piece::Base(range) => below.push(range),
                        Piece::Literal(range) => literals.push(range),
                    }
                }
            }
            for range in merged(literals) {
                held = held.saturating_add(range.length);
                let end = range.start + range.length;
                let first = layer.frames.partition_point(|frame| frame.literal + u64::from(frame.plain_length) <= range.start);
                for (index, frame) in layer.frames.iter().enumerate().skip(first).take_while(|(_, frame)| frame.literal < end) {
                    pieces += 1;
                    let start = range.start.max(frame.literal);
                    let part = Range { start, length: end.min(frame.literal + u64::from(frame.plain_length)) - start };
                    let parts = needed.frames.or_default(index as u64);
                    if parts.is_empty() {
                        below.extend(step.document.dictionaries.get(index).into_iter().flatten());
                        bytes = bytes.saturating_add(u64::from(frame.plain_length));
                    }
                    parts.push(part);
                }
                if pieces > most || bytes > self.budget || held > MAX_HELD {
                    return Err(too_slow(&self.chain));
                }
            }
            all.push(needed);
            ranges = below;
        }
        Ok(all)
    }
}

//! The content of a large state as a table of pieces, which takes little memory. Pieces are
//! cut where their content says, so that they are the same wherever they have moved to.
//! Where they are cut is no part of the format.

use std::collections::HashMap;

use fastcdc::v2020::FastCDC;
use sha2::{Digest, Sha256};

use crate::error::Result;

/// The sizes of pieces in bytes: at least, on average, at most.
const MIN: usize = 2 << 10;
const AVERAGE: usize = 8 << 10;
const MAX: usize = 32 << 10;

/// How much is cut at a time.
const BUFFER: usize = 1 << 20;

/// The most pieces of a table, which take about 40 MB. They cover 8 GiB of state.
const MAX_PIECES: usize = 1 << 20;

/// The first bytes of the SHA-256 of a piece. Equal ones are taken for equal pieces, so they
/// have to be long enough that nobody can make two.
type Hash = [u8; 20];

/// A table of the pieces of a state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pieces {
    /// Where pieces begin, by their hash: the first of equal ones.
    places: HashMap<Hash, u64>,
    /// The size of the state so far.
    size: u64,
}

/// Cuts a state that comes in parts.
#[derive(Debug, Default)]
pub(crate) struct Cutter(Vec<u8>);

impl Cutter {
    /// Takes the next bytes. Calls `each` with every piece that is known now.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(BUFFER.saturating_sub(self.0.len()).max(1)));
            self.0.extend_from_slice(now);
            bytes = rest;
            if self.0.len() >= BUFFER {
                self.cut(MAX, &mut each)?;
            }
        }
        Ok(())
    }

    /// Cuts the rest.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.cut(1, &mut each)
    }

    /// Cuts as long as this many bytes are left.
    fn cut(&mut self, least: usize, each: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let cutter = FastCDC::new(&self.0, MIN, AVERAGE, MAX);
        let mut start = 0;
        while self.0.len() - start >= least {
            let (_, end) = cutter.cut(start, self.0.len() - start);
            each(self.0.get(start..end).unwrap_or_default())?;
            start = end;
        }
        self.0.drain(..start);
        Ok(())
    }
}

pub(crate) fn hash(piece: &[u8]) -> Hash {
    let mut hash = [0; 20];
    for (to, from) in hash.iter_mut().zip(Sha256::digest(piece)) {
        *to = from;
    }
    hash
}

impl Pieces {
    /// Returns the table of a state that is in memory.
    pub(crate) fn of(state: &[u8]) -> Result<Self> {
        let (mut pieces, mut cutter) = (Self::default(), Cutter::default());
        cutter.push(state, |piece| pieces.push(piece))?;
        cutter.finish(|piece| pieces.push(piece))?;
        Ok(pieces)
    }

    /// Appends a piece.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<()> {
        self.add(hash(piece), piece.len());
        Ok(())
    }

    /// Appends a piece whose hash is known.
    pub(crate) fn add(&mut self, hash: Hash, length: usize) {
        if self.places.len() < MAX_PIECES {
            self.places.entry(hash).or_insert(self.size);
        }
        self.size += length as u64;
    }

    /// The size of the state so far.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Returns where a piece with this hash begins.
    pub(crate) fn find(&self, hash: &Hash) -> Option<u64> {
        self.places.get(hash).copied()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut random = 1_u64;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn cut(parts: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut pieces, mut cutter) = (Vec::new(), Cutter::default());
        for part in parts {
            cutter
                .push(part, |piece| {
                    pieces.push(piece.to_vec());
                    Ok(())
                })
                .unwrap();
        }
        cutter
            .finish(|piece| {
                pieces.push(piece.to_vec());
                Ok(())
            })
            .unwrap();
        pieces
    }

    #[test]
    fn pieces_do_not_depend_on_how_the_state_comes_in() {
        let state = noise(5_000_000);
        let whole = cut(&[&state]);
        assert_eq!(whole.concat(), state);
        assert_eq!(cut(&state.chunks(77_777).collect::<Vec<_>>()), whole);
        assert_eq!(cut(&[&state[..1], &state[1..]]), whole);
        assert!(whole.len() > 300 && whole.len() < 1200, "{}", whole.len());
        // What has moved is found again.
        let moved = cut(&[b"before", &state]);
        assert!(moved.iter().filter(|piece| whole.contains(piece)).count() > whole.len() - 5);
    }
}

//! Exports the interface `blocks`.

use std::cell::RefCell;

use super::Component;
use super::bindings::{Answer, blocks, wit};
use super::convert::hash;
use crate::codec::{Codec, Decoder, Encoder};
use crate::error::Result;

thread_local! {
    /// The last encoder, with its codec and level. The next block reuses its buffers and
    /// tables.
    static ENCODER: RefCell<Option<((Codec, i32), Encoder)>> = const { RefCell::new(None) };
    static DECODER: RefCell<Decoder> = RefCell::default();
}

/// Encodes with the last encoder if it has the same codec and level, otherwise with a new
/// one.
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
    fn encode(codec: wit::Codec, level: i32, plain: Vec<u8>) -> Answer<wit::EncodedBlock> {
        let block = with_encoder(codec.into(), level, |encoder| encoder.encode(&plain))?;
        Ok(wit::EncodedBlock { frame: block.frame, length: block.length, crc32: block.crc32, hash: block.hash.to_vec() })
    }

    fn encode_frame(codec: wit::Codec, level: i32, plain: Vec<u8>) -> Answer<Vec<u8>> {
        Ok(with_encoder(codec.into(), level, |encoder| encoder.encode_frame(&plain))?.0)
    }

    fn decode(block: wit::BlockRef, slice: Vec<u8>) -> Answer<Vec<u8>> {
        let block = block.try_into()?;
        let mut out = Vec::new();
        DECODER.with_borrow_mut(|decoder| decoder.decode(&block, &slice, &mut out))?;
        Ok(out)
    }

    fn decode_hashed(block: wit::BlockRef, slice: Vec<u8>, found: Vec<u8>) -> Answer<Vec<u8>> {
        let (block, found) = (block.try_into()?, hash(&found)?);
        let mut out = Vec::new();
        DECODER.with_borrow_mut(|decoder| decoder.decode_hashed(&block, &slice, found, &mut out))?;
        Ok(out)
    }
}

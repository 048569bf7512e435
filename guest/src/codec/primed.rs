//! Deflate streams that may refer to bytes that come before them: a dictionary that both
//! sides have.

use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush, Status};

use crate::error::{Error, ErrorCode, Result};

/// The window size of deflate, in bits.
const WINDOW_BITS: u8 = 15;

/// The most bytes of a dictionary that a stream can refer to.
pub(crate) const MAX_DICTIONARY: usize = 1 << WINDOW_BITS;

/// The best level. These streams are short.
const LEVEL: i32 = 9;

/// Compresses bytes as a raw deflate stream (RFC 1951).
pub(crate) fn deflate(dictionary: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
    let failed = |what: &str| Error::new(ErrorCode::Other, format!("deflate failed: {what}"));
    let mut deflate = Deflate::new(LEVEL, false, WINDOW_BITS);
    if !dictionary.is_empty() {
        deflate.set_dictionary(dictionary).map_err(|error| failed(error.as_str()))?;
    }
    // Enough for bytes that do not compress.
    let mut out = vec![0; plain.len() + plain.len() / 512 + 64];
    let status = deflate.compress(plain, &mut out, DeflateFlush::Finish).map_err(|error| failed(error.as_str()))?;
    if status != Status::StreamEnd {
        return Err(failed("the stream did not end"));
    }
    out.truncate(usize::try_from(deflate.total_out()).unwrap_or(usize::MAX));
    Ok(out)
}

/// Decompresses a raw deflate stream, which has to end with the last byte and to have at
/// most `most` bytes.
pub(crate) fn inflate(dictionary: &[u8], stream: &[u8], most: usize) -> std::result::Result<Vec<u8>, &'static str> {
    const PIECE: usize = 16 << 10;
    let mut inflate = Inflate::new(false, WINDOW_BITS);
    if !dictionary.is_empty() {
        inflate.set_dictionary(dictionary).map_err(|error| error.as_str())?;
    }
    let mut out = Vec::new();
    loop {
        let used = usize::try_from(inflate.total_in()).unwrap_or(usize::MAX);
        let written = out.len();
        // One byte more than allowed shows that there are more.
        out.resize((written + PIECE).min(most + 1), 0);
        let room = out.get_mut(written..).unwrap_or_default();
        let status = inflate.decompress(stream.get(used..).unwrap_or_default(), room, InflateFlush::NoFlush);
        let status = status.map_err(|error| error.as_str())?;
        out.truncate(usize::try_from(inflate.total_out()).unwrap_or(usize::MAX));
        if out.len() > most {
            return Err("it is longer than declared");
        }
        if status == Status::StreamEnd {
            let all = inflate.total_in() == stream.len() as u64;
            return if all { Ok(out) } else { Err("bytes follow its end") };
        }
        if usize::try_from(inflate.total_in()) == Ok(used) && out.len() == written {
            return Err("it is cut short");
        }
    }
}

//! What the libraries in C read in a file: none of our code, and none of the crates
//! that the guest uses.

use std::io::Read;
use std::mem::MaybeUninit;

use libz_sys::{Z_NO_FLUSH, Z_OK, Z_STREAM_END, inflate, inflateEnd, inflateInit2_, inflateReset, z_stream, zlibVersion};

/// More than this is not unpacked: a file that is accepted says its size.
const MARGIN: usize = 1 << 16;

/// What `zcat` prints of a file: the contents of all its members. None if zlib
/// refuses one, or bytes are left that are no member; or after `size` bytes and some.
pub fn gunzip(file: &[u8], size: usize) -> Option<Vec<u8>> {
    // All zeros: null pointers, which mean zlib's own allocator, and numbers. Rust
    // has no word for a function that is null, so that there is never a reference
    // to the stream, and never its value.
    let mut stream = MaybeUninit::<z_stream>::zeroed();
    let stream = stream.as_mut_ptr();
    // SAFETY: the stream outlives the calls, and its size and the version are those
    // of the library that is linked. 15 bits of window, and 16 more for gzip.
    let begun = unsafe { inflateInit2_(stream, 15 + 16, zlibVersion(), size_of::<z_stream>() as i32) };
    assert_eq!(begun, Z_OK);
    let mut out = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    let length = u32::try_from(file.len()).expect("a fuzzer's file is small");
    // SAFETY: the fields are numbers and pointers to data, and nothing else refers
    // to the stream.
    unsafe {
        (*stream).next_in = file.as_ptr().cast_mut();
        (*stream).avail_in = length;
    }
    let read = loop {
        // SAFETY: as above. next_in and next_out point to as many bytes as avail_in
        // and avail_out say, in `file` and `chunk`, which are not moved meanwhile.
        let (status, left, room) = unsafe {
            (*stream).next_out = chunk.as_mut_ptr();
            (*stream).avail_out = chunk.len() as u32;
            (inflate(stream, Z_NO_FLUSH), (*stream).avail_in, (*stream).avail_out)
        };
        out.extend_from_slice(&chunk[..chunk.len() - room as usize]);
        if out.len() > size + MARGIN {
            break false;
        }
        match status {
            Z_STREAM_END if left == 0 => break true,
            // SAFETY: the stream was set up above.
            Z_STREAM_END => assert_eq!(unsafe { inflateReset(stream) }, Z_OK),
            Z_OK => {}
            _ => break false,
        }
    };
    // SAFETY: the stream was set up above, and is not used any more.
    unsafe { inflateEnd(stream) };
    read.then_some(out)
}

/// What `zstdcat` prints of a file: the contents of all its frames.
pub fn unzstd(file: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(file).ok()?;
    decoder.take((size + MARGIN) as u64).read_to_end(&mut out).ok()?;
    Some(out)
}

//! Reads files with the C libraries, without any code of the project or crates that the
//! guest uses.

use std::io::Read;
use std::mem::MaybeUninit;

use libz_sys::{Z_NO_FLUSH, Z_OK, Z_STREAM_END, inflate, inflateEnd, inflateInit2_, inflateReset, z_stream, zlibVersion};

/// How many bytes more than expected are decompressed.
const MARGIN: usize = 1 << 16;

/// Returns what `zcat` prints for a file: the contents of all its members. `None` if zlib
/// refuses a member or bytes are left that are not one, or if there is much more than `size`
/// bytes.
pub fn gunzip(file: &[u8], size: usize) -> Option<Vec<u8>> {
    // All zeros: numbers, and null pointers, which select zlib's own allocator. In Rust a
    // function pointer can't be null, so there must never be a reference to the stream, or
    // a value of it.
    let mut stream = MaybeUninit::<z_stream>::zeroed();
    let stream = stream.as_mut_ptr();
    // SAFETY: the stream outlives the calls, and its size and version are those of the linked
    // library. The window has 15 bits; 16 is the flag for gzip.
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
        // SAFETY: as above. next_in and next_out point to avail_in and avail_out bytes in
        // `file` and `chunk`, which do not move meanwhile.
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

/// Returns what `zstdcat` prints for a file: the contents of all its frames.
pub fn unzstd(file: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(file).ok()?;
    decoder.take((size + MARGIN) as u64).read_to_end(&mut out).ok()?;
    Some(out)
}

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
    // SAFETY: a z_stream may be all zeros: null pointers, which mean zlib's own
    // allocator, and numbers.
    let mut stream: z_stream = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the stream outlives the calls, and its size and the version are those
    // of the library that is linked. 15 bits of window, and 16 more for gzip.
    let begun = unsafe { inflateInit2_(&mut stream, 15 + 16, zlibVersion(), size_of::<z_stream>() as i32) };
    assert_eq!(begun, Z_OK);
    let mut out = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    stream.next_in = file.as_ptr().cast_mut();
    stream.avail_in = u32::try_from(file.len()).expect("a fuzzer's file is small");
    let read = loop {
        stream.next_out = chunk.as_mut_ptr();
        stream.avail_out = chunk.len() as u32;
        // SAFETY: next_in and next_out point to as many bytes as avail_in and
        // avail_out say, in `file` and `chunk`, which are not moved meanwhile.
        let status = unsafe { inflate(&mut stream, Z_NO_FLUSH) };
        out.extend_from_slice(&chunk[..chunk.len() - stream.avail_out as usize]);
        if out.len() > size + MARGIN {
            break false;
        }
        match status {
            Z_STREAM_END if stream.avail_in == 0 => break true,
            // SAFETY: the stream was set up above.
            Z_STREAM_END => assert_eq!(unsafe { inflateReset(&mut stream) }, Z_OK),
            Z_OK => {}
            _ => break false,
        }
    };
    // SAFETY: the stream was set up above, and is not used any more.
    unsafe { inflateEnd(&mut stream) };
    read.then_some(out)
}

/// What `zstdcat` prints of a file: the contents of all its frames.
pub fn unzstd(file: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(file).ok()?;
    decoder.take((size + MARGIN) as u64).read_to_end(&mut out).ok()?;
    Some(out)
}

//! Where the files meet the WIT interface `storage`.

use std::cell::RefCell;

use wasip2::filesystem::types::{Descriptor, ErrorCode as Os};

use crate::bindings::wit;
use crate::failure::{error, failed};
use crate::write::Unfinished;
use crate::{files, key, list, write};

/// The most bytes that one read gives.
const MAX_READ: u64 = 1 << 20;

/// The most objects in one listing.
const MAX_LISTED: u32 = 1000;

struct Component;

crate::bindings::export!(Component with_types_in crate::bindings::generated);

struct Reader {
    file: Descriptor,
    info: wit::ObjectInfo,
    /// Where the next byte is, and how many of the range are left.
    at: u64,
    left: u64,
}

impl wit::Guest for Component {
    type Writer = RefCell<Unfinished>;
    type Reader = RefCell<Reader>;

    fn supported_conditions() -> wit::Conditions {
        wit::Conditions::IF_ABSENT
    }

    fn open_write(key: String, options: wit::WriteOptions) -> Result<wit::Writer, wit::Error> {
        key::check(&key)?;
        let unfinished = Unfinished::open(&files::made_root()?, &key, &options.precondition)?;
        Ok(wit::Writer::new(RefCell::new(unfinished)))
    }

    fn open_read(key: String, options: wit::ReadOptions) -> Result<wit::Reader, wit::Error> {
        key::check(&key)?;
        let (file, stat) = files::open(&files::root()?, &key)?;
        let info = files::info(&key, &file, &stat);
        if options.if_match.is_some() && options.if_match != info.etag {
            return Err(error(wit::ErrorCode::PreconditionFailed, "the file was replaced meanwhile"));
        }
        let (start, end) = match options.range {
            wit::ByteRange::All => (0, info.size),
            wit::ByteRange::Span(span) => (span.offset.min(info.size), span.offset.saturating_add(span.length).min(info.size)),
            wit::ByteRange::Suffix(length) => (info.size.saturating_sub(length), info.size),
        };
        Ok(wit::Reader::new(RefCell::new(Reader { file, info, at: start, left: end.saturating_sub(start) })))
    }

    fn stat(key: String) -> Result<wit::ObjectInfo, wit::Error> {
        key::check(&key)?;
        match files::info_at(&files::root()?, &key)? {
            Some(info) => Ok(info),
            None => Err(error(wit::ErrorCode::NotFound, "there is no such file: this is a folder or a device")),
        }
    }

    fn delete(key: String, precondition: wit::Precondition) -> Result<(), wit::Error> {
        key::check(&key)?;
        match precondition {
            wit::Precondition::None => write::delete(&files::root()?, &key),
            wit::Precondition::IfAbsent => Err(error(wit::ErrorCode::Unsupported, "a delete can't ask for an absent object")),
            wit::Precondition::IfMatch(_) => Err(write::if_match_unsupported()),
        }
    }

    fn list_objects(prefix: String, start_after: Option<String>, limit: u32) -> Result<Vec<wit::ObjectInfo>, wit::Error> {
        if !(1..=MAX_LISTED).contains(&limit) {
            return Err(error(wit::ErrorCode::Unsupported, format!("a listing has 1 to {MAX_LISTED} objects")));
        }
        match files::root() {
            Ok(root) => list::list(&root, &prefix, start_after.as_deref(), limit),
            // The first write makes it.
            Err(error) if error.code == wit::ErrorCode::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

impl wit::GuestWriter for RefCell<Unfinished> {
    fn write(&self, chunk: Vec<u8>) -> Result<(), wit::Error> {
        self.borrow_mut().write(&chunk)
    }

    fn commit(writer: wit::Writer) -> Result<wit::ObjectInfo, wit::Error> {
        writer.into_inner::<Self>().into_inner().commit()
    }
}

impl wit::GuestReader for RefCell<Reader> {
    fn info(&self) -> wit::ObjectInfo {
        self.borrow().info.clone()
    }

    fn read(&self, max: u32) -> Result<Vec<u8>, wit::Error> {
        let mut reader = self.borrow_mut();
        let wanted = u64::from(max).min(MAX_READ).min(reader.left);
        if wanted == 0 {
            return Ok(Vec::new());
        }
        let bytes = match reader.file.read(wanted, reader.at) {
            Ok((bytes, _)) => bytes,
            // A file that got shorter ends the range early; who reads notices.
            Err(Os::Overflow) => Vec::new(),
            Err(os) => return Err(failed("read", os)),
        };
        reader.at += bytes.len() as u64;
        reader.left = if bytes.is_empty() { 0 } else { reader.left.saturating_sub(bytes.len() as u64) };
        Ok(bytes)
    }
}

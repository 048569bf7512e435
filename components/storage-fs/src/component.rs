//! Exports the WIT interface `storage`.

use std::cell::RefCell;

use persist_model::files::{DELETE_IF_ABSENT, NO_FILE};
use wasip2::filesystem::types::Descriptor;

use crate::bindings::wit;
use crate::failure::error;
use crate::read::{self, Reader};
use crate::write::Unfinished;
use crate::{MAX_BATCH, delete, files, key, list, write};

struct Component;

crate::bindings::export!(Component with_types_in crate::bindings::generated);

/// Lists the root folder. It is empty if it does not exist, as before the first write.
fn listed<T>(limit: u32, list: impl FnOnce(usize, Descriptor) -> Result<Vec<T>, wit::Error>) -> Result<Vec<T>, wit::Error> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if !(1..=MAX_BATCH).contains(&limit) {
        return Err(error(wit::ErrorCode::InvalidArgument, format!("a listing has 1 to {MAX_BATCH} entries, not {limit}")));
    }
    match files::root() {
        Ok(root) => list(limit, root),
        Err(error) if error.code == wit::ErrorCode::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

impl wit::Guest for Component {
    type Writer = RefCell<Unfinished>;
    type Reader = RefCell<Reader>;

    /// WASI can't replace a file on a condition and keeps nothing with it, and its clocks
    /// start again with each host.
    fn capabilities() -> wit::CapabilitySet {
        use wit::CapabilitySet as Can;
        Can::IF_ABSENT | Can::READ_MANY | Can::COPY_RANGE | Can::DELETE_MANY | Can::LIST_LEVEL
    }

    fn open_write(key: String, options: wit::WriteOptions) -> Result<wit::Writer, wit::Error> {
        let open = || {
            key::check(&key)?;
            Unfinished::open(files::made_root()?, &key, &options.precondition)
        };
        let unfinished = open().map_err(|error| error.at(&key))?;
        Ok(wit::Writer::new(RefCell::new(unfinished)))
    }

    fn open_read(key: String, options: wit::ReadOptions) -> Result<wit::Reader, wit::Error> {
        let open = || {
            if key.ends_with('/') {
                return Err(list::why_listed(files::root()?, &key));
            }
            key::check(&key)?;
            Reader::open(&files::root()?, &key, &options.range, options.if_match.as_deref())
        };
        let reader = open().map_err(|error| error.at(&key))?;
        Ok(wit::Reader::new(RefCell::new(reader)))
    }

    fn read_many(requests: Vec<wit::ReadRequest>) -> Result<Vec<Result<wit::ReadAnswer, wit::Error>>, wit::Error> {
        read::read_many(&requests)
    }

    fn stat(key: String) -> Result<wit::ObjectInfo, wit::Error> {
        let find = || {
            key::check(&key)?;
            files::info_at(&files::root()?, &key)?.ok_or_else(|| error(wit::ErrorCode::NotFound, NO_FILE))
        };
        find().map_err(|error| error.at(&key))
    }

    fn delete(key: String, precondition: wit::Precondition) -> Result<(), wit::Error> {
        let delete = || {
            key::check(&key)?;
            match precondition {
                wit::Precondition::None => delete::delete(&files::root()?, &key),
                wit::Precondition::IfAbsent => Err(error(wit::ErrorCode::InvalidArgument, DELETE_IF_ABSENT)),
                wit::Precondition::IfMatch(_) => Err(write::if_match_unsupported()),
            }
        };
        delete().map_err(|error| error.at(&key))
    }

    fn delete_many(keys: Vec<String>) -> Result<Vec<wit::DeleteFailure>, wit::Error> {
        delete::delete_many(&keys)
    }

    fn list_objects(prefix: String, start_after: Option<String>, limit: u32) -> Result<Vec<wit::ObjectInfo>, wit::Error> {
        listed(limit, |limit, root| list::objects(root, &prefix, start_after.as_deref(), limit))
    }

    fn list_level(prefix: String, start_after: Option<String>, limit: u32) -> Result<Vec<wit::LevelEntry>, wit::Error> {
        listed(limit, |limit, root| list::level(root, &prefix, start_after.as_deref(), limit))
    }
}

impl wit::GuestWriter for RefCell<Unfinished> {
    fn write(&self, chunk: Vec<u8>) -> Result<(), wit::Error> {
        self.borrow_mut().write(&chunk)
    }

    fn copy_range(&self, source: String, span: wit::Span, if_match: Option<String>) -> Result<(), wit::Error> {
        self.borrow_mut().copy(&source, span, if_match.as_deref())
    }

    fn commit(writer: wit::Writer) -> Result<wit::ObjectInfo, wit::Error> {
        writer.into_inner::<Self>().into_inner().commit()
    }
}

impl wit::GuestReader for RefCell<Reader> {
    fn info(&self) -> wit::ObjectInfo {
        self.borrow().info().clone()
    }

    fn read(&self, max: u32) -> Result<Vec<u8>, wit::Error> {
        let mut reader = self.borrow_mut();
        reader.read(max.into()).map_err(|error| error.at(&reader.info().key))
    }
}

//! The storage that the host provides.

use super::bindings::host;
use crate::error::{Error, ErrorCode, Result};
use crate::storage::{ByteRange, ObjectInfo, Part, Precondition, Reader, Storage, WriteOptions, Writer, one_by_one};

/// The storage that the host provides.
#[derive(Clone, Copy)]
pub(super) struct HostStorage;

impl Storage for HostStorage {
    type Writer = host::Writer;
    type Reader = host::Reader;

    fn open_write(&self, key: &str, options: WriteOptions) -> Result<host::Writer> {
        let options = host::WriteOptions {
            precondition: options.precondition.into(),
            object_size_hint: options.object_size_hint,
            content_type: options.content_type,
            attributes: options.attributes,
        };
        Ok(host::open_write(key, &options)?)
    }

    fn open_read(&self, key: &str, range: ByteRange, if_match: Option<&str>) -> Result<host::Reader> {
        Ok(host::open_read(key, &host::ReadOptions { range: range.into(), if_match: if_match.map(str::to_owned) })?)
    }

    fn read_many(&self, requests: &[(String, ByteRange)]) -> Result<Vec<Part>> {
        if !host::capabilities().contains(host::CapabilitySet::READ_MANY) {
            return one_by_one(self, requests);
        }
        let request = |(key, range): &(String, ByteRange)| host::ReadRequest { key: key.clone(), range: (*range).into(), if_match: None };
        let answers = host::read_many(&requests.iter().map(request).collect::<Vec<_>>())?;
        if answers.len() != requests.len() {
            return Err(Error::new(ErrorCode::Io, format!("the storage returned {} answers to {} reads", answers.len(), requests.len())));
        }
        Ok(answers.into_iter().map(|answer| answer.map(|read| (read.info.into(), read.bytes)).map_err(Error::from)).collect())
    }

    fn stat(&self, key: &str) -> Result<ObjectInfo> {
        Ok(host::stat(key)?.into())
    }

    fn delete(&self, key: &str, precondition: Precondition) -> Result<()> {
        Ok(host::delete(key, &precondition.into())?)
    }

    fn list_objects(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>> {
        let objects = host::list_objects(prefix, start_after, limit)?;
        Ok(objects.into_iter().map(ObjectInfo::from).collect())
    }
}

impl Writer for host::Writer {
    fn write(&mut self, chunk: &[u8]) -> Result<()> {
        Ok(host::Writer::write(self, chunk)?)
    }

    fn commit(self) -> Result<ObjectInfo> {
        Ok(host::Writer::commit(self)?.into())
    }
}

impl Reader for host::Reader {
    fn info(&self) -> ObjectInfo {
        host::Reader::info(self).into()
    }

    fn read(&mut self, max: u32) -> Result<Vec<u8>> {
        Ok(host::Reader::read(self, max)?)
    }
}

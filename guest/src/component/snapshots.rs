//! Exports the interface `snapshots`.

use std::cell::RefCell;

use super::Component;
use super::bindings::{Answer, host, wit};
use super::convert::hash;
use super::storage::HostStorage;
use crate::error::{Error, ErrorCode};
use crate::restore::Restorer;
use crate::salvage::Salvager;
use crate::save::Saver;
use crate::snapshots::{self, ListEntry, ListFilter};
use crate::timeline::{StateReader, Timeline, step_of};
use crate::verify::Verifier;

impl wit::GuestSaver for RefCell<Saver<host::Writer>> {
    fn encoding(&self) -> wit::Encoding {
        let encoding = self.borrow().encoding();
        wit::Encoding { codec: encoding.codec.into(), level: encoding.level, block_size: encoding.block_size }
    }

    fn write(&self, chunk: Vec<u8>) -> Answer<()> {
        Ok(self.borrow_mut().write(&chunk)?)
    }

    fn hash(&self, chunk: Vec<u8>) -> Answer<()> {
        Ok(self.borrow_mut().hash(&chunk)?)
    }

    fn append(&self, block: wit::EncodedBlock) -> Answer<()> {
        Ok(self.borrow_mut().append(&block.try_into()?)?)
    }

    fn append_hashed(&self, block: wit::EncodedBlock) -> Answer<()> {
        Ok(self.borrow_mut().append_hashed(&block.try_into()?)?)
    }

    fn set_content_hash(&self, content_hash: Vec<u8>) -> Answer<()> {
        Ok(self.borrow_mut().set_content_hash(hash(&content_hash)?)?)
    }

    fn commit(saver: wit::Saver) -> Answer<wit::Metadata> {
        Ok(saver.into_inner::<Self>().into_inner().commit()?.into())
    }
}

/// What is being restored.
pub(super) enum Opened {
    Snapshot(Box<Restorer<HostStorage>>),
    Step(Box<StateReader<HostStorage>>),
}

impl wit::GuestRestorer for RefCell<Opened> {
    fn metadata(&self) -> wit::Metadata {
        match &*self.borrow() {
            Opened::Snapshot(restorer) => restorer.metadata().into(),
            Opened::Step(reader) => reader.metadata().clone().into(),
        }
    }

    fn read(&self, max: u32) -> Answer<Vec<u8>> {
        Ok(match &mut *self.borrow_mut() {
            Opened::Snapshot(restorer) => restorer.read(max)?,
            Opened::Step(reader) => reader.read(max)?,
        })
    }

    fn block_count(&self) -> u32 {
        match &*self.borrow() {
            Opened::Snapshot(restorer) => restorer.block_count(),
            Opened::Step(_) => 0,
        }
    }

    fn plan(&self, first: u32, limit: u32) -> Vec<wit::BlockRef> {
        match &*self.borrow() {
            Opened::Snapshot(restorer) => restorer.plan(first, limit).into_iter().map(wit::BlockRef::from).collect(),
            Opened::Step(_) => Vec::new(),
        }
    }

    fn check(&self, content_hash: Vec<u8>, crc32: u32) -> Answer<()> {
        let content_hash = hash(&content_hash)?;
        let checked = match &*self.borrow() {
            Opened::Snapshot(restorer) => restorer.check(content_hash, crc32),
            Opened::Step(reader) => reader.check(content_hash),
        };
        Ok(checked?)
    }
}

impl wit::GuestVerifier for RefCell<Verifier<HostStorage>> {
    fn metadata(&self) -> wit::Metadata {
        self.borrow().metadata().into()
    }

    fn write(&self, chunk: Vec<u8>) -> Answer<()> {
        Ok(self.borrow_mut().write(&chunk)?)
    }

    fn finish(verifier: wit::Verifier) -> Answer<wit::Metadata> {
        Ok(verifier.into_inner::<Self>().into_inner().finish()?.into())
    }
}

impl wit::GuestSalvager for RefCell<Salvager<HostStorage>> {
    fn read(&self, max: u32) -> Answer<Vec<u8>> {
        Ok(self.borrow_mut().read(max)?)
    }

    fn report(&self) -> wit::SalvageReport {
        let report = self.borrow().report();
        wit::SalvageReport {
            metadata: report.metadata.map(wit::Metadata::from),
            codec: report.codec.into(),
            salvaged_size: report.salvaged_size,
            checked_size: report.checked_size,
            missing_size: report.missing_size,
            holes: report.holes.into_iter().map(wit::Hole::from).collect(),
            break_offset: report.break_offset,
            reason: report.reason.map(wit::Error::from),
        }
    }
}

impl wit::Guest for Component {
    type Saver = RefCell<Saver<host::Writer>>;
    type Restorer = RefCell<Opened>;
    type Verifier = RefCell<Verifier<HostStorage>>;
    type Salvager = RefCell<Salvager<HostStorage>>;

    fn open_saver(key: String, options: wit::SaveOptions) -> Answer<wit::Saver> {
        Ok(wit::Saver::new(RefCell::new(Saver::open(&HostStorage, &key, options.into())?)))
    }

    fn open_restorer(key: String, options: wit::RestoreOptions) -> Answer<wit::Restorer> {
        let opened = match step_of(&key) {
            Some((folder, number)) => {
                let reader = Timeline::new(HostStorage, folder).open(number, options.check_content_hash)?;
                Opened::Step(Box::new(reader))
            }
            None => Opened::Snapshot(Box::new(Restorer::open(&HostStorage, &key, options.check_content_hash)?)),
        };
        Ok(wit::Restorer::new(RefCell::new(opened)))
    }

    fn open_verifier(key: String) -> Answer<wit::Verifier> {
        Ok(wit::Verifier::new(RefCell::new(Verifier::open(&HostStorage, &key)?)))
    }

    fn open_salvager(key: String) -> Answer<wit::Salvager> {
        Ok(wit::Salvager::new(RefCell::new(Salvager::open(&HostStorage, &key)?)))
    }

    fn save(key: String, state: Vec<u8>, options: wit::SaveOptions) -> Answer<wit::Metadata> {
        Ok(snapshots::save(&HostStorage, &key, &state, options.into())?.into())
    }

    fn save_text(key: String, state: String, options: wit::SaveOptions) -> Answer<wit::Metadata> {
        Self::save(key, state.into_bytes(), options)
    }

    fn restore(key: String) -> Answer<Vec<u8>> {
        Ok(snapshots::restore(&HostStorage, &key)?)
    }

    fn restore_text(key: String) -> Answer<String> {
        let state = snapshots::restore(&HostStorage, &key)?;
        String::from_utf8(state).map_err(|_| Error::new(ErrorCode::Unsupported, "the state is not UTF-8 text").at(&key).into())
    }

    fn get_metadata(key: String) -> Answer<wit::Metadata> {
        Ok(snapshots::metadata(&HostStorage, &key)?.into())
    }

    fn verify(key: String) -> Answer<wit::Metadata> {
        Ok(snapshots::verify(&HostStorage, &key)?.into())
    }

    fn exists(key: String) -> Answer<bool> {
        Ok(snapshots::exists(&HostStorage, &key)?)
    }

    fn delete(key: String, precondition: wit::Precondition) -> Answer<()> {
        Ok(snapshots::delete(&HostStorage, &key, precondition.into())?)
    }

    fn list_snapshots(prefix: String, start_after: Option<String>, limit: u32, filter: Option<wit::ListFilter>) -> Answer<wit::ListPage> {
        let filter = filter.map(ListFilter::from).unwrap_or_default();
        let page = snapshots::list(&HostStorage, &prefix, start_after.as_deref(), limit, filter)?;
        let entries = page.entries.into_iter().map(|entry| match entry {
            ListEntry::Snapshot(metadata) => wit::ListEntry::Snapshot((*metadata).into()),
            ListEntry::Unreadable { info, error } => {
                let error = error.into();
                wit::ListEntry::Unreadable(wit::Unreadable { key: info.key, etag: info.etag, stored_size: info.size, error })
            }
        });
        Ok(wit::ListPage { entries: entries.collect(), next: page.next })
    }
}

//! Salvaging what is left of a damaged snapshot.

use std::time::Instant;

use serde_json::{Value, json};
use wasmtime::component::ResourceAny;

use crate::error::{PersistError, Result};
use crate::guest::{Guest, log};
use crate::metadata::{Codec, Hole, SnapshotMetadata};
use crate::process::OfProcess;
use crate::sandbox::from_guest;
use crate::storage::MAX_READ;

/// What a salvager found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvageReport {
    /// What the snapshot says of itself, where that was readable.
    pub metadata: Option<SnapshotMetadata>,
    /// The codec.
    pub codec: Codec,
    /// Bytes of state that were given out.
    pub salvaged_size: u64,
    /// How many of them were checked against the hash of their frame. The
    /// others are what the codec made of what was there.
    pub checked_size: u64,
    /// Bytes of state that are known to be missing: those in all holes.
    pub missing_size: u64,
    /// Where something is missing between the parts that were given out, or
    /// behind them, in the state's order: the first 1000 of them. Known only
    /// where the block table is whole.
    pub holes: Vec<Hole>,
    /// Where in the object it breaks, in bytes from its beginning: the first
    /// place, if there are several; none if all of the state came out, as its
    /// content hash shows, or, without metadata, gzip's CRC-32 and size.
    pub break_offset: Option<u64>,
    /// What was wrong there, or with metadata and table.
    pub reason: Option<PersistError>,
}

impl SalvageReport {
    /// The report as the command and the Python package give it: one JSON object.
    pub fn to_json(&self) -> Value {
        json!({
            "verified": false,
            "complete": self.break_offset.is_none(),
            "codec": self.codec,
            "salvaged_size": self.salvaged_size,
            "checked_size": self.checked_size,
            "break_offset": self.break_offset,
            "missing_size": self.metadata.as_ref().map(|metadata| metadata.uncompressed_size.saturating_sub(self.salvaged_size)),
            "holes": self.holes,
            "reason": self.reason.as_ref().map(ToString::to_string),
            "metadata": self.metadata,
        })
    }
}

/// A damaged snapshot of which as much is read as there is.
pub struct Salvager {
    guest: OfProcess<Guest>,
    salvager: ResourceAny,
    location: String,
    began: Instant,
}

impl Salvager {
    pub(crate) fn open(mut guest: Guest, key: &str) -> Result<Self> {
        let began = Instant::now();
        let location = guest.storage().locate(key);
        let opened = guest.call(|persist, store| persist.persist_snapshot_snapshots().call_open_salvager(store, key));
        match opened {
            Ok(salvager) => Ok(Self { guest: OfProcess::new(guest), salvager, location, began }),
            Err(error) => Err(error.at(&location)).inspect_err(|error| log("salvage", &location, began, Err(error))),
        }
    }

    /// The next part of the state, at most a block of 8 MiB; none at the end of
    /// what there is.
    ///
    /// # Errors
    /// What the storage says.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let salvager = self.salvager;
        let chunk =
            self.guest.get()?.call(|persist, store| persist.persist_snapshot_snapshots().salvager().call_read(store, salvager, MAX_READ));
        let chunk = chunk.map_err(|error| error.at(&self.location))?;
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    /// What was found; whole once [`next_chunk`](Self::next_chunk) gave no more.
    ///
    /// # Errors
    /// `ResourceLimit` and `Other` if the component failed.
    pub fn report(&mut self) -> Result<SalvageReport> {
        let salvager = self.salvager;
        let guest = self.guest.get()?;
        let report = guest.call(|persist, store| persist.persist_snapshot_snapshots().salvager().call_report(store, salvager).map(Ok))?;
        log("salvage", &self.location, self.began, Ok((report.salvaged_size, 0)));
        Ok(SalvageReport {
            metadata: report.metadata.map(SnapshotMetadata::from),
            codec: report.codec.into(),
            salvaged_size: report.salvaged_size,
            checked_size: report.checked_size,
            missing_size: report.missing_size,
            holes: report.holes.into_iter().map(Hole::from).collect(),
            break_offset: report.break_offset,
            reason: report.reason.map(|error| from_guest(error, guest.storage()).at(&self.location)),
        })
    }
}

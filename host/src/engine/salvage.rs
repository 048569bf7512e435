//! Salvages what is left of a damaged snapshot.

use std::time::Instant;

use persist_model::{Codec, Hole, SnapshotMetadata};
use persist_model::{PersistError, Result};
use serde_json::{Value, json};
use wasmtime::component::ResourceAny;

use crate::sandbox::{Guest, from_guest, log};
use crate::storage::MAX_READ;
use crate::system::process::OfProcess;

/// What a salvager found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvageReport {
    /// The snapshot's metadata, if it was readable.
    pub metadata: Option<SnapshotMetadata>,
    /// The codec.
    pub codec: Codec,
    /// Bytes of state that were salvaged.
    pub salvaged_size: u64,
    /// How many of them were checked against the hash of their frame. The others are
    /// what the codec could decode.
    pub checked_size: u64,
    /// Bytes of state that are known to be missing, in all holes.
    pub missing_size: u64,
    /// Where state is missing between or after the salvaged parts, in the order of the
    /// state. Holds the first 1000 holes. Known only if the block table is intact.
    pub holes: Vec<Hole>,
    /// The offset of the first damage in the object, in bytes. None if the whole state
    /// was salvaged, according to its content hash or, without metadata, to gzip's
    /// CRC-32 and size.
    pub break_offset: Option<u64>,
    /// What is wrong there, or with the metadata or block table.
    pub reason: Option<PersistError>,
}

impl SalvageReport {
    /// Returns the report as one JSON object, as the command and the Python package
    /// return it.
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

/// Reads what is left of a damaged snapshot.
pub struct Salvager {
    guest: OfProcess<Guest>,
    salvager: ResourceAny,
    location: String,
    began: Instant,
}

impl std::fmt::Debug for Salvager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Salvager").field("location", &self.location).finish_non_exhaustive()
    }
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

    /// Returns the next part of the state, at most a block of 8 MiB, or none if nothing
    /// more can be salvaged.
    ///
    /// # Errors
    /// Any error of the storage.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let salvager = self.salvager;
        let chunk =
            self.guest.get()?.call(|persist, store| persist.persist_snapshot_snapshots().salvager().call_read(store, salvager, MAX_READ));
        let chunk = chunk.map_err(|error| error.at(&self.location))?;
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    /// Returns what was found. The report is complete once
    /// [`next_chunk`](Self::next_chunk) has returned none.
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

//! The options of a save, checked before any of the state is read.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use persist_model::error::HINT;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use uuid::Uuid;

use super::document::{Document, STANDARD};
use super::json::{Unique, check_value};
use super::timestamp::{parse_time, stored_form};
use crate::codec::Codec;
use crate::error::{Error, ErrorCode, Result, quoted};
use crate::limits::MAX_INDEX;
use crate::storage::Precondition;

/// The software that writes the snapshots.
const PRODUCER: &str = concat!("persist/", env!("CARGO_PKG_VERSION"));

/// How to save a state, and its metadata.
#[derive(Clone, Debug, Default)]
pub struct SaveOptions {
    /// The agent ID.
    pub agent_id: String,
    /// The session ID: a conversation, run or thread of that agent.
    pub session_id: String,
    /// The place in the session; at most 2^53 - 1.
    pub snapshot_index: u64,
    /// A note for people.
    pub description: Option<String>,
    /// Labels: names and values to find the snapshot by.
    pub labels: Vec<(String, String)>,
    /// The state's media type; `application/json` if `None`.
    pub content_type: Option<String>,
    /// Extra metadata: the text of a JSON object.
    pub extra: Option<String>,
    /// The codec; chosen by the ending of the key if `None`.
    pub codec: Option<Codec>,
    /// The compression level; the codec's default if `None`.
    pub level: Option<i32>,
    /// A UUID; a new one of version 7 if `None`.
    pub snapshot_id: Option<String>,
    /// When the state was taken: RFC 3339, with any offset; the current time if `None`.
    pub timestamp: Option<String>,
    /// The precondition of the write.
    pub precondition: Precondition,
    /// The state's size in bytes, if known. A wrong size does no harm.
    pub state_size_hint: Option<u64>,
    /// Names and values for the storage to keep with the object.
    pub attributes: Vec<(String, String)>,
    /// Whether the host computes the content hash, and sets it with
    /// [`Saver::set_content_hash`](crate::save::Saver::set_content_hash).
    pub host_hashes: bool,
}

/// The metadata that is known when a save begins. Sizes and hashes are known at its end.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    snapshot_id: String,
    agent_id: String,
    session_id: String,
    snapshot_index: u64,
    timestamp: String,
    description: Option<String>,
    labels: BTreeMap<String, String>,
    content_type: String,
    extra: Unique<Box<RawValue>>,
}

impl Draft {
    /// Checks the options and fills in the defaults.
    pub(crate) fn new(options: &SaveOptions) -> Result<Self> {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self::at(options, since_1970.ok().and_then(time_of))
    }

    /// `clock` is `None` if it shows a time that can't be stored.
    fn at(options: &SaveOptions, clock: Option<OffsetDateTime>) -> Result<Self> {
        if options.snapshot_index > MAX_INDEX {
            return Err(Error::argument(format!("the snapshot index {} is larger than 2^53 - 1", options.snapshot_index)));
        }
        // WASI shows every time before 1970 as the beginning of 1970.
        let now = clock.filter(|clock| *clock > OffsetDateTime::UNIX_EPOCH);
        let time = match &options.timestamp {
            None => now.ok_or_else(clock_is_wrong)?,
            Some(text) => parse_time("timestamp", text)?,
        };
        let snapshot_id = match &options.snapshot_id {
            None => new_uuid(now.unwrap_or(time))?,
            Some(text) => Uuid::parse_str(text)
                .map_err(|error| Error::argument(format!("the snapshot ID '{}' is not a UUID: {error}", quoted(text))))?,
        };
        let mut labels = BTreeMap::new();
        for (name, value) in &options.labels {
            if labels.insert(name.clone(), value.clone()).is_some() {
                return Err(Error::argument(format!("the label '{}' is given twice", quoted(name))));
            }
        }
        let draft = Self {
            snapshot_id: snapshot_id.hyphenated().to_string(),
            agent_id: options.agent_id.clone(),
            session_id: options.session_id.clone(),
            snapshot_index: options.snapshot_index,
            timestamp: stored_form(time)?,
            description: options.description.clone(),
            labels,
            content_type: options.content_type.clone().unwrap_or_else(|| "application/json".to_owned()),
            extra: extra_fields(options.extra.as_deref())?,
        };
        // Refuse metadata that is too long now, before any of the state is read. The
        // numbers that are not known yet are as long as they can be.
        draft.clone().finish(Codec::Gzip, &[0xff; 32], &[0xff; 32], u64::MAX, u64::MAX, Some(u32::MAX)).to_json()?;
        Ok(draft)
    }

    /// Returns the metadata of a document that does not depend on how its state is stored.
    pub(crate) fn of(document: &Document) -> Self {
        let Document { snapshot_id, agent_id, session_id, timestamp, description, labels, content_type, extra, .. } = document.clone();
        let snapshot_index = document.snapshot_index;
        Self { snapshot_id, agent_id, session_id, snapshot_index, timestamp, description, labels, content_type, extra }
    }

    /// Completes the document with sizes and hashes.
    pub(crate) fn finish(
        self,
        codec: Codec,
        table_hash: &[u8; 32],
        content_hash: &[u8; 32],
        size: u64,
        data_length: u64,
        crc32: Option<u32>,
    ) -> Document {
        Document {
            codec,
            block_size: codec.block_size(),
            table_hash: crate::hash::hex(table_hash),
            crc32,
            snapshot_id: self.snapshot_id,
            agent_id: self.agent_id,
            session_id: self.session_id,
            snapshot_index: self.snapshot_index,
            timestamp: self.timestamp,
            description: self.description,
            labels: self.labels,
            content_type: self.content_type,
            content_hash: crate::hash::hex(content_hash),
            uncompressed_size: size,
            compressed_size: data_length,
            producer: PRODUCER.to_owned(),
            extra: self.extra,
        }
    }
}

/// Returns the time after this duration since the beginning of 1970; `None` after the
/// year 9999, the last one in RFC 3339.
fn time_of(since_1970: Duration) -> Option<OffsetDateTime> {
    let since_1970 = time::Duration::try_from(since_1970).ok()?;
    OffsetDateTime::UNIX_EPOCH.checked_add(since_1970).filter(|time| time.year() <= 9999)
}

fn clock_is_wrong() -> Error {
    let error = Error::argument("this machine's clock is before 1970 or after 9999, and no time was given");
    error.with(HINT, "set the clock, or give the time when the state was taken, for example with --timestamp")
}

fn new_uuid(now: OffsetDateTime) -> Result<Uuid> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|error| Error::new(ErrorCode::Other, format!("could not get random numbers: {error}")))?;
    let millis = u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    Ok(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
}

fn extra_fields(text: Option<&str>) -> Result<Unique<Box<RawValue>>> {
    let Some(text) = text else { return Ok(Unique(Vec::new())) };
    let fields: Unique<Box<RawValue>> = serde_json::from_str(text)
        .map_err(|error| Error::argument(format!("the extra metadata is not a single JSON object: {}", quoted(error))))?;
    for (name, value) in &fields.0 {
        if STANDARD.contains(&name.as_str()) {
            return Err(Error::argument(format!("the extra metadata has the reserved name '{}'", quoted(name))));
        }
        check_value(name, value).map_err(Error::argument)?;
    }
    Ok(fields)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_1970_is_an_error_unless_the_time_is_given() {
        let epoch = OffsetDateTime::UNIX_EPOCH;
        for clock in [Some(epoch), Some(epoch - time::Duration::days(400)), None] {
            let error = Draft::at(&SaveOptions::default(), clock).expect_err("it would be a wrong time");
            assert!(error.code == ErrorCode::InvalidArgument && error.message.contains("before 1970"), "{error:?}");
            let options = SaveOptions { timestamp: Some("2026-01-31T12:00:00Z".to_owned()), ..SaveOptions::default() };
            let draft = Draft::at(&options, clock).unwrap();
            assert_eq!(draft.timestamp, "2026-01-31T12:00:00.000000Z");
            // The ID begins with the time.
            let id = Uuid::parse_str(&draft.snapshot_id).unwrap();
            assert_eq!(id.get_timestamp().map(|time| time.to_unix().0), Some(1_769_860_800));
        }
        Draft::at(&SaveOptions::default(), Some(epoch + time::Duration::seconds(1))).unwrap();
    }

    #[test]
    fn a_clock_after_9999_shows_no_time() {
        // The first second of the year 10000.
        const END: u64 = 253_402_300_800;
        for seconds in [END, END + 1, u64::try_from(i64::MAX).unwrap(), u64::MAX] {
            assert_eq!(time_of(Duration::from_secs(seconds)), None, "{seconds}");
        }
        let last = time_of(Duration::new(END - 1, 999_999_999)).expect("it is in 9999");
        let draft = Draft::at(&SaveOptions::default(), Some(last)).unwrap();
        assert_eq!(draft.timestamp, "9999-12-31T23:59:59.999999Z");
        assert_eq!(time_of(Duration::ZERO), Some(OffsetDateTime::UNIX_EPOCH));
        let error = Draft::at(&SaveOptions::default(), time_of(Duration::from_secs(END))).expect_err("it would be a wrong time");
        assert!(error.code == ErrorCode::InvalidArgument && error.message.contains("after 9999"), "{error:?}");
    }
}

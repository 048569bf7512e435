//! Checks whether a storage works, by using it.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use persist_model::{ErrorCode, PersistError, Precondition, Result};

use crate::cancel::CancelToken;
use crate::storage::adapter::StorageAdapter;
use crate::storage::types::{ByteRange, HealthCheck, ReadOptions, WriteOptions};
use crate::system::random::random_hex;

/// How long after a cancellation the delete of the test object may still begin. Once
/// begun, it ends like any cancelled operation.
const CLEAN_UP: Duration = Duration::from_millis(500);

/// Tests a storage with a temporary object below `prefix`: access, write, read, ranged
/// read, list, conditions, delete. Checks that can't work after an earlier failure are
/// skipped, and so are the remaining ones after a cancellation. The object is deleted
/// in any case.
pub fn check_health(storage: &Arc<dyn StorageAdapter>, prefix: &str, cancel: &CancelToken) -> Vec<HealthCheck> {
    let with = |token: &CancelToken| storage.with_cancel(token).unwrap_or_else(|| Arc::clone(storage));
    let stoppable = with(cancel);
    let mut checks = stoppable.access_checks(prefix);
    if checks.iter().any(|check| !check.is_passed()) {
        return checks;
    }
    let key = match throw_away_key(prefix) {
        Ok(key) => key,
        Err(error) => {
            checks.push(HealthCheck::run("write", || Err(error)));
            return checks;
        }
    };
    let written = try_out(&*stoppable, &key, cancel, &mut checks);
    // Even after a failed write, in case the object was stored all the same.
    let deleted = HealthCheck::run("delete", || delete(&*with(&for_clean_up(cancel)), &key));
    let is_cleaned_up = match &deleted.outcome {
        Err(PersistError::NotFound(_)) => true,
        outcome => outcome.is_ok(),
    };
    if written || cancel.is_cancelled() && !is_cleaned_up {
        checks.push(deleted);
    }
    checks
}

/// Returns a token that is cancelled a while after this one.
fn for_clean_up(token: &CancelToken) -> CancelToken {
    let (token, began) = (token.clone(), OnceLock::new());
    CancelToken::asking(move || token.is_cancelled() && began.get_or_init(Instant::now).elapsed() > CLEAN_UP)
}

/// A check that needs the written object.
type Try<'a> = &'a dyn Fn() -> Result<String>;

/// Runs all checks except the delete. Returns whether the object was written.
fn try_out(storage: &dyn StorageAdapter, key: &str, cancel: &CancelToken, checks: &mut Vec<HealthCheck>) -> bool {
    // The bytes differ, so that a range shows where it comes from.
    let content: Vec<u8> = (0..=255).cycle().take(4096).collect();
    let written = HealthCheck::run("write", || {
        cancel.check()?;
        write(storage, key, &content, Precondition::None)?;
        Ok(format!("{} bytes", content.len()))
    });
    let is_written = written.is_passed();
    checks.push(written);
    let read_all = || {
        expect(read(storage, key, ByteRange::All)? == content, "the data read differs from the data written")?;
        Ok(format!("{} bytes", content.len()))
    };
    let read_ranges = || {
        let span = read(storage, key, ByteRange::Span { offset: 1000, length: 24 })?;
        let suffix = read(storage, key, ByteRange::Suffix(100))?;
        let is_right = content.get(1000..1024) == Some(&span[..]) && content.get(3996..) == Some(&suffix[..]);
        expect(is_right, "a range returned the wrong bytes")?;
        Ok("span and suffix".to_owned())
    };
    let list = || {
        let found = storage.list_objects(key, None, 10)?;
        expect(found.iter().any(|info| info.key == key), "the object is missing from the listing")?;
        Ok("the object is listed".to_owned())
    };
    let (if_absent, if_match) = (|| if_absent(storage, key), || if_match(storage, key));
    let tries: [(&'static str, bool, Try<'_>); 5] = [
        ("read", true, &read_all),
        ("ranged read", true, &read_ranges),
        ("list", true, &list),
        ("if-absent", false, &if_absent),
        ("if-match", false, &if_match),
    ];
    for (name, required, check) in tries {
        if is_written && !cancel.is_cancelled() {
            checks.push(HealthCheck { required, ..HealthCheck::run(name, check) });
        }
    }
    is_written
}

fn delete(storage: &dyn StorageAdapter, key: &str) -> Result<String> {
    storage.delete_object(key, Precondition::None)?;
    match storage.stat(key) {
        Err(PersistError::NotFound(_)) => Ok("the object is gone".to_owned()),
        Err(error) => Err(error),
        Ok(_) => Err(PersistError::new(ErrorCode::Other, "the object still exists after the delete")),
    }
    .map_err(|error| error.at(storage.locate(key)))
}

fn throw_away_key(prefix: &str) -> Result<String> {
    Ok(format!("{prefix}persist-doctor-{}", random_hex()?))
}

fn expect(is_right: bool, problem: &str) -> Result<()> {
    if is_right { Ok(()) } else { Err(PersistError::new(ErrorCode::Other, problem)) }
}

fn write(storage: &dyn StorageAdapter, key: &str, content: &[u8], precondition: Precondition) -> Result<Option<String>> {
    let options = WriteOptions { precondition, object_size_hint: Some(content.len() as u64), ..WriteOptions::default() };
    let mut writer = storage.open_write(key, options)?;
    writer.write(content)?;
    writer.commit().map(|info| info.etag)
}

fn read(storage: &dyn StorageAdapter, key: &str, range: ByteRange) -> Result<Vec<u8>> {
    let mut reader = storage.open_read(key, ReadOptions { range, if_match: None })?;
    let mut content = Vec::new();
    loop {
        match reader.read(4096)? {
            chunk if chunk.is_empty() => return Ok(content),
            chunk => content.extend(chunk),
        }
    }
}

fn if_absent(storage: &dyn StorageAdapter, key: &str) -> Result<String> {
    match write(storage, key, b"must not be written", Precondition::IfAbsent) {
        Err(PersistError::AlreadyExists(_)) => Ok("enforced: a second write was refused".to_owned()),
        Err(error) => Err(error),
        Ok(_) => Err(PersistError::new(ErrorCode::Unsupported, "the condition if-absent is ignored")),
    }
}

fn if_match(storage: &dyn StorageAdapter, key: &str) -> Result<String> {
    match write(storage, key, b"must not be written", Precondition::IfMatch("0".repeat(32))) {
        Err(PersistError::Conflict(_)) => Ok("enforced: a write with another etag was refused".to_owned()),
        Err(error) => Err(error),
        Ok(_) => Err(PersistError::new(ErrorCode::Unsupported, "the condition if-match is ignored")),
    }
}

//! Times as people write them, and in their stored form.

use std::time::{Duration, SystemTime};

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// Parses an RFC 3339 time with any offset.
///
/// # Errors
/// What is wrong with the text.
pub fn parse(text: &str) -> Result<OffsetDateTime, time::error::Parse> {
    OffsetDateTime::parse(text, &Rfc3339)
}

/// Formats a time as it is stored: RFC 3339 in UTC with microseconds, so that times sort
/// as text. Returns `None` outside the years 1 to 9999.
pub fn stored(time: OffsetDateTime) -> Option<String> {
    let utc = time.checked_to_offset(UtcOffset::UTC).filter(|utc| (1..=9999).contains(&utc.year()))?;
    let (hour, minute, second, micro) = utc.to_hms_micro();
    let (year, month, day) = (utc.year(), u8::from(utc.month()), utc.day());
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}Z"))
}

/// Parses a time and returns it in stored form. The text is an RFC 3339 time, a date (its
/// beginning in UTC), or an age such as `7d`, `12h` or `1h 30m`.
///
/// # Errors
/// What to write instead.
pub fn moment(text: &str, now: SystemTime) -> Result<String, String> {
    let text = text.trim();
    let with_seconds = || {
        let (date, minute) = text.split_at_checked("2026-01-31T12:00".len()).unwrap_or((text, ""));
        parse(&format!("{date}:00{minute}"))
    };
    let time = match parse(text).or_else(|_| parse(&format!("{text}T00:00:00Z"))).or_else(|_| with_seconds()) {
        Ok(time) => Some(time),
        Err(_) => ago(text, now),
    };
    time.and_then(stored).ok_or_else(|| "write a date (2026-01-31), a time (2026-01-31T12:00:00Z), or an age (7d, 12h, 30m)".to_owned())
}

fn ago(text: &str, now: SystemTime) -> Option<OffsetDateTime> {
    let ago = humantime::parse_duration(text).ok()?;
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let now = OffsetDateTime::UNIX_EPOCH.checked_add(time::Duration::try_from(since_1970).ok()?)?;
    now.checked_sub(time::Duration::try_from(ago).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_times_and_ages_are_understood() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_860_800); // 2026-01-31T12:00:00Z
        for (text, time) in [
            ("2026-01-31", "2026-01-31T00:00:00.000000Z"),
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000000Z"),
            ("2026-01-31T12:00:00.5+02:00", "2026-01-31T10:00:00.500000Z"),
            ("2026-01-31T12:00Z", "2026-01-31T12:00:00.000000Z"),
            ("2026-01-31T12:00-05:00", "2026-01-31T17:00:00.000000Z"),
            ("7d", "2026-01-24T12:00:00.000000Z"),
            (" 1h 30m ", "2026-01-31T10:30:00.000000Z"),
            ("0s", "2026-01-31T12:00:00.000000Z"),
        ] {
            assert_eq!(moment(text, now).as_deref(), Ok(time), "{text}");
        }
        for text in ["", "7", "yesterday", "2026-02-30", "2026-01-31T12:00:00", "9999999999y", "-7d"] {
            assert!(moment(text, now).is_err_and(|advice| advice.contains("7d")), "{text}");
        }
    }
}

//! Sizes and durations as people write them.

use std::time::Duration;

/// Parses a number of bytes: `134217728`, or with a binary unit, `128M` or `1.5 GiB`.
pub fn bytes(text: &str) -> Option<u64> {
    parse_size::Config::new().with_binary().parse_size(text.trim()).ok()
}

/// Parses a duration: a number of seconds, or with units, `30s`, `5m` or `1h 30m`.
pub fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, size) in
            [("0", 0), ("134217728", 128 << 20), ("128M", 128 << 20), ("128 MiB", 128 << 20), ("1.5g", 3 << 29), ("8k", 8192)]
        {
            assert_eq!(bytes(text), Some(size), "{text}");
        }
        for text in ["", "M", "-1", "128X", "1e300G"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, milliseconds) in [("0.5", 500), ("30", 30_000), ("30s", 30_000), ("5m", 300_000), ("1h 30m", 5_400_000), ("100ms", 100)]
        {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "-1", "5 parsecs", "inf", "NaN"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}

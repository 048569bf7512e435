//! Default names for the snapshots of a session: `AGENT/SESSION/INDEX.json.zst`.

use persist_model::Codec;

use crate::ids::folder_name;

/// Returns the folder of a session's snapshots, with a trailing `/`.
pub fn session_folder(agent_id: &str, session_id: &str) -> String {
    format!("{}/{}/", folder_name(agent_id), folder_name(session_id))
}

/// Returns the name of a snapshot in its session's folder. It contains `.json` if the
/// state's media type is JSON; the default codec is zstd.
pub fn file_name(index: u64, codec: Option<Codec>, content_type: Option<&str>) -> String {
    let kind = if content_type.is_none_or(is_json) { ".json" } else { "" };
    let ending = match codec {
        Some(Codec::Gzip) => ".gz",
        Some(Codec::Zstd) | None => ".zst",
    };
    format!("{index}{kind}{ending}")
}

/// Returns the index in such a name, or `None` for any other name.
pub fn index_of(name: &str) -> Option<u64> {
    let (digits, ending) = name.split_once('.')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_ours = matches!(ending, "json.gz" | "json.zst" | "gz" | "zst");
    (is_number && is_ours && (digits == "0" || !digits.starts_with('0'))).then(|| digits.parse().ok()).flatten()
}

/// Returns the index after the highest one in a session's folder, or 0 if there is none.
pub fn next_index<'a>(names: impl Iterator<Item = &'a str>) -> u64 {
    names.filter_map(index_of).max().map_or(0, |last| last.saturating_add(1))
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for (codec, content_type, name) in [
            (None, None, "12.json.zst"),
            (Some(Codec::Gzip), Some("application/json; charset=utf-8"), "12.json.gz"),
            (Some(Codec::Zstd), Some("application/octet-stream"), "12.zst"),
            (Some(Codec::Gzip), Some("application/ld+json"), "12.json.gz"),
        ] {
            assert_eq!(file_name(12, codec, content_type), name);
            assert_eq!(index_of(name), Some(12));
        }
        for name in ["012.json.gz", "-1.gz", "final.json.gz", "1.json", "1", ".gz", "1.json.gz.age", "99999999999999999999.gz"] {
            assert_eq!(index_of(name), None, "{name}");
        }
        assert_eq!(next_index(["0.json.gz", "10.json.zst", "9.gz", "notes.txt"].into_iter()), 11);
        assert_eq!(next_index(std::iter::empty()), 0);
        assert_eq!(session_folder("Support", ""), "+support/%/");
    }
}

//! States as agents have them.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// Prose that people wrote: the documentation and comments of the libraries that
/// this build uses, as the toolchain has them.
pub(crate) fn prose(bytes: usize) -> Vec<String> {
    let home = std::env::var_os("CARGO_HOME").map_or_else(|| std::env::home_dir().unwrap().join(".cargo"), PathBuf::from);
    let mut folders = vec![home.join("registry/src")];
    let (mut found, mut size) = (Vec::new(), 0);
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md" || extension == "rs") && size < bytes {
                let text = fs::read_to_string(&path).unwrap_or_default();
                let is_prose = |line: &&str| line.starts_with("//!") || line.trim_start().starts_with("///") || path.ends_with("md");
                let text: Vec<&str> = text.lines().filter(is_prose).map(|line| line.trim_start_matches(['/', '!', ' '])).collect();
                for part in text.chunks(12) {
                    let part = part.join("\n");
                    size += part.len();
                    found.push(part);
                }
            }
        }
    }
    assert!(!found.is_empty(), "{}: no text", home.display());
    found
}

/// An agent's state of about so many bytes: a conversation as JSON.
pub(crate) fn state(prose: &[String], bytes: usize) -> Vec<u8> {
    let mut json = String::with_capacity(bytes + 4096);
    json.push_str("{\"messages\":[");
    let mut number = 0_u64;
    'all: loop {
        for text in prose {
            if json.len() >= bytes {
                break 'all;
            }
            let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let role = ["user", "assistant", "tool"][(number % 3) as usize];
            let separator = if number == 0 { "" } else { "," };
            write!(json, "{separator}{{\"id\":\"msg_{id:016x}\",\"role\":\"{role}\",\"tokens\":{},\"content\":", id % 4096).unwrap();
            json.push_str(&serde_json::to_string(text).unwrap());
            json.push('}');
            number += 1;
        }
    }
    json.push_str("]}");
    json.into_bytes()
}

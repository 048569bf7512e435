//! Realistic states of agents.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The books in the toolchain's documentation.
const BOOKS: [&str; 10] =
    ["book", "cargo", "clippy", "edition-guide", "embedded-book", "nomicon", "reference", "rust-by-example", "rustc", "rustdoc"];

/// Returns text written by people, including code, in parts as long as a message, and its
/// source: the toolchain's books, or if they are not installed the comments of the
/// libraries in this build.
pub(crate) fn prose(bytes: usize) -> (Vec<String>, String) {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().ok().filter(|done| done.status.success());
    let sysroot = sysroot.map(|done| PathBuf::from(String::from_utf8_lossy(&done.stdout).trim()));
    let html = sysroot.unwrap_or_default().join("share/doc/rust/html");
    let books: Vec<PathBuf> = BOOKS.iter().map(|book| html.join(book)).filter(|book| book.is_dir()).collect();
    let home = std::env::var_os("CARGO_HOME").map_or_else(|| std::env::home_dir().unwrap().join(".cargo"), PathBuf::from);
    let (folders, source) = if books.is_empty() {
        (vec![home.join("registry/src")], "the comments of libraries")
    } else {
        (books, "the books of the toolchain")
    };
    let (mut parts, mut size) = (Vec::new(), 0);
    let mut files = Vec::new();
    folders.iter().for_each(|folder| find(folder, &mut files));
    for file in files {
        if size >= bytes {
            break;
        }
        let text = fs::read_to_string(&file).unwrap_or_default();
        let lines = match file.extension().and_then(|extension| extension.to_str()) {
            Some("html") => page(&text),
            Some("md") => text.lines().map(str::to_owned).collect(),
            Some("rs") => text.lines().filter_map(comment).collect(),
            _ => Vec::new(),
        };
        for part in lines.chunks(12) {
            let part = part.join("\n");
            size += part.len();
            parts.push(part);
        }
    }
    assert!(!parts.is_empty(), "no text in {folders:?}");
    (parts, format!("{:.1} MB of {source}", size as f64 / 1e6))
}

/// Finds the files in a folder and its subfolders, in the order of their names.
fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        // Skips translations and the single page with a whole book.
        if path.is_dir() && name.len() > 2 {
            find(&path, files);
        } else if path.is_file() && name != "print" {
            files.push(path);
        }
    }
}

fn comment(line: &str) -> Option<String> {
    let text = line.trim_start();
    (text.starts_with("//!") || text.starts_with("///")).then(|| text.trim_start_matches(['/', '!', ' ']).to_owned())
}

/// Returns the lines of text on a page of a book.
fn page(html: &str) -> Vec<String> {
    let main = html.split_once("<main>").and_then(|(_, rest)| rest.split_once("</main>")).map_or("", |(main, _)| main);
    let mut text = String::new();
    for piece in main.split('<') {
        text.push_str(piece.split_once('>').map_or(piece, |(_, text)| text));
    }
    for (entity, character) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&#x27;", "'"), ("&amp;", "&")] {
        text = text.replace(entity, character);
    }
    text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

/// Returns an agent's state of about this many bytes: a conversation as JSON.
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

//! Conversion between agent and session IDs and the names of their folders.
//!
//! An ID is any text. Characters that every file system and bucket keeps unchanged stay
//! as they are. All others are encoded so that two IDs never have the same name, even on
//! a file system that ignores case or Unicode normalisation:
//!
//! - `a` to `z`, `0` to `9`, `-`, `_`, `.`, `@`, `=` and `,` stay, except a `.` at the
//!   beginning or the end.
//! - Chinese, Japanese and Korean characters, which have no case, and most emoji stay
//!   too.
//! - `A` to `Z` become `+a` to `+z`; `+` is not special in any shell.
//! - Any other character becomes the `%xx` of its UTF-8 bytes.
//! - The empty ID is `%`.
//! - A name of more than 150 bytes is cut to at most 117, followed by `~` and the first
//!   32 digits of the ID's SHA-256. The full ID is then only in the snapshot's metadata.

use sha2::{Digest, Sha256};

/// The maximum length of a name in bytes. Two of them leave room for a prefix in a key of
/// 1,024 bytes.
const MAX_NAME: usize = 150;

/// The number of hash digits at the end of a name that was cut.
const HASH_DIGITS: usize = 32;

const EMPTY: &str = "%";

/// Returns whether a character beyond ASCII stays: it has no case, and no Unicode normal
/// form changes it or composes it with another character that stays.
fn stays(character: char) -> bool {
    matches!(character,
        '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' | '\u{30fc}' | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{1f300}'..='\u{1faff}')
}

fn encoded(character: char, is_edge: bool) -> String {
    match character {
        '.' if is_edge => "%2e".to_owned(),
        'a'..='z' | '0'..='9' | '-' | '_' | '.' | '@' | '=' | ',' => character.to_string(),
        'A'..='Z' => format!("+{}", character.to_ascii_lowercase()),
        _ if stays(character) => character.to_string(),
        _ => character.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02x}")).collect(),
    }
}

/// Returns the name of the folder for an ID.
pub fn folder_name(id: &str) -> String {
    if id.is_empty() {
        return EMPTY.to_owned();
    }
    let parts = id.char_indices().map(|(at, character)| encoded(character, at == 0 || at + character.len_utf8() == id.len()));
    let mut name = String::new();
    let mut cut = 0;
    for part in parts {
        name.push_str(&part);
        if name.len() < MAX_NAME - HASH_DIGITS {
            cut = name.len();
        }
    }
    if name.len() > MAX_NAME {
        name.truncate(cut);
        name.push('~');
        name.extend(Sha256::digest(id).iter().take(HASH_DIGITS / 2).map(|byte| format!("{byte:02x}")));
    }
    name
}

/// Returns the ID for a folder's name, or `None` if the name was cut or is not that of an
/// ID.
pub fn id_of(name: &str) -> Option<String> {
    if name == EMPTY {
        return Some(String::new());
    }
    let mut bytes = Vec::new();
    let mut rest = name.chars();
    while let Some(character) = rest.next() {
        match character {
            '+' => bytes.push(u8::try_from(rest.next()?.to_ascii_uppercase()).ok()?),
            '%' => {
                let digits: String = rest.by_ref().take(2).collect();
                bytes.push(u8::from_str_radix(&digits, 16).ok()?);
            }
            _ => bytes.extend(character.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    // Each ID has exactly one name, so a name that decodes but is not the ID's own is
    // rejected.
    String::from_utf8(bytes).ok().filter(|id| folder_name(id) == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The same pairs are tested in Python.
    const NAMES: &str = include_str!("names.json");

    fn names() -> Vec<(String, String)> {
        serde_json::from_str(NAMES).unwrap_or_default()
    }

    #[test]
    fn names_match_the_shared_list() {
        assert!(names().len() > 12);
        for (id, name) in names() {
            assert_eq!(folder_name(&id), name);
            assert_eq!(id_of(&name), (!name.contains('~')).then_some(id));
        }
    }

    #[test]
    fn no_two_ids_have_the_same_name() {
        let pieces =
            ["", ".", "..", "/", "a", "A", "+a", "+", "%41", "%", "~", " ", "\0", "é", "e\u{301}", "が", "か\u{3099}", "🤖", "~0", "-"];
        let mut seen = BTreeSet::new();
        for first in pieces {
            for second in pieces {
                let id = format!("{first}{second}");
                let name = folder_name(&id);
                assert_eq!(id_of(&name).as_deref(), Some(id.as_str()), "{name}");
                assert!(crate::key::check_key(&name).is_ok() && !name.contains('/'), "{name}");
                seen.insert(id);
            }
        }
        let lower: BTreeSet<String> = seen.iter().map(|id| folder_name(id).to_lowercase()).collect();
        assert_eq!(lower.len(), seen.len());
    }

    #[test]
    fn long_ids_have_different_names() {
        let ids = [1000, 1001].map(|length| "x".repeat(length)).into_iter().chain(["é".repeat(1000), "🤖".repeat(1000)]);
        let names: BTreeSet<String> = ids.map(|id| folder_name(&id)).collect();
        assert_eq!(names.len(), 4);
        assert!(names.iter().all(|name| name.len() <= MAX_NAME && name.len() > 100 && id_of(name).is_none()), "{names:?}");
    }

    #[test]
    fn an_invalid_name_has_no_id() {
        for name in ["", "A", "%4", "%zz", "+", "+1", "%61", "a/b", "%ff", ".", "a."] {
            assert_eq!(id_of(name), None, "{name}");
        }
    }
}

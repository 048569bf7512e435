//! Agent and session ids as the names of folders, and back.
//!
//! An id is any text. Its name keeps what every file system and every bucket takes as
//! it is; all else is written so that two ids never have one name, also where a file
//! system takes upper and lower case, or two ways to compose a letter, for the same:
//!
//! - `a` to `z`, `0` to `9`, `-`, `_`, `.`, `@`, `=` and `,` stay, but a `.` at the
//!   beginning or the end.
//! - So do the scripts of Chinese, Japanese and Korean, which have no case, and most
//!   emoji.
//! - `A` to `Z` are `+a` to `+z`, which no shell takes for something else.
//! - Any other character is the `%xx` of its bytes in UTF-8.
//! - The empty id is `%`.
//! - A name of over 150 bytes is cut to at most 117, and ends with `~` and the first 32
//!   digits of the SHA-256 of the id. What the id was, only the snapshot's metadata
//!   says then.

use sha2::{Digest, Sha256};

/// The longest name that is kept whole, in bytes: with two of them there is room for a
/// prefix in a key of 1,024.
const MAX_NAME: usize = 150;

/// Digits of the hash that a name ends with if it was cut.
const HASH_DIGITS: usize = 32;

const EMPTY: &str = "%";

/// What stays as it is beyond ASCII: characters without case that no normal form of
/// Unicode changes, or composes with others that stay.
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

/// The name of the folder that an id's snapshots are in.
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

/// The id whose name this is; none if it is that of no id, or was cut.
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
    // One id has one name: what reads like an id and is not written like one has none.
    String::from_utf8(bytes).ok().filter(|id| folder_name(id) == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The same pairs are tested in Python.
    const NAMES: &str = include_str!("../../tests/names.json");

    fn names() -> Vec<(String, String)> {
        serde_json::from_str(NAMES).unwrap_or_default()
    }

    #[test]
    fn names_are_as_written_down() {
        assert!(names().len() > 12);
        for (id, name) in names() {
            assert_eq!(folder_name(&id), name);
            assert_eq!(id_of(&name), (!name.contains('~')).then_some(id));
        }
    }

    #[test]
    fn no_two_ids_have_one_name() {
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
    fn long_ids_have_names_of_their_own() {
        let ids = [1000, 1001].map(|length| "x".repeat(length)).into_iter().chain(["é".repeat(1000), "🤖".repeat(1000)]);
        let names: BTreeSet<String> = ids.map(|id| folder_name(&id)).collect();
        assert_eq!(names.len(), 4);
        assert!(names.iter().all(|name| name.len() <= MAX_NAME && name.len() > 100 && id_of(name).is_none()), "{names:?}");
    }

    #[test]
    fn what_is_no_name_has_no_id() {
        for name in ["", "A", "%4", "%zz", "+", "+1", "%61", "a/b", "%ff", ".", "a."] {
            assert_eq!(id_of(name), None, "{name}");
        }
    }
}

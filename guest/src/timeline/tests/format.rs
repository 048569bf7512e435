//! The examples in `docs/format.md` are what is written.

use super::*;
use crate::metadata::packed::{DICTIONARY, unpack};
use crate::timeline::record::Record;

const PAGE: &str = include_str!("format.md");

/// Returns the contents of the code blocks in one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let start = format!("```{language}\n");
    PAGE.split(&start).skip(1).map(|rest| rest.split("```").next().unwrap().trim_end()).collect()
}

/// Returns the bytes of a block: hexadecimal digits, with a comment after three spaces.
fn bytes(block: &str) -> Vec<u8> {
    let digits = block.lines().flat_map(|line| line.split("   ").next().unwrap().chars()).filter(|digit| *digit != ' ');
    let digits: Vec<u32> = digits.map(|digit| digit.to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// The timeline on the page.
fn example() -> MemoryStorage {
    let options = SaveOptions {
        agent_id: "a".to_owned(),
        session_id: "s".to_owned(),
        snapshot_id: Some("01890a5d-ac96-774b-bcce-b302099a8057".to_owned()),
        timestamp: Some("2026-01-31T12:00:00Z".to_owned()),
        ..SaveOptions::default()
    };
    let storage = MemoryStorage::default();
    let mut writer = timeline(&storage);
    for state in [
        r#"{"turn":1,"messages":["What is the capital of France?"]}"#,
        r#"{"turn":2,"messages":["What is the capital of France?","Paris."]}"#,
    ] {
        assert!(PAGE.contains(&format!("`{state}`")), "{state}");
        writer.append(state.as_bytes().to_vec(), &options, OnConflict::Fail, None).unwrap();
    }
    writer.finish().unwrap();
    storage
}

#[test]
fn the_dictionary_on_the_page_is_that_of_the_code() {
    assert_eq!(blocks("dictionary"), [str::from_utf8(DICTIONARY).unwrap()]);
    assert!(PAGE.contains(&format!("consists of these {} bytes", DICTIONARY.len())));
}

#[test]
fn the_steps_on_the_page_are_those_that_are_written() {
    let storage = example();
    let (steps, texts) = (blocks("step"), blocks("json"));
    for (index, block) in steps.iter().enumerate() {
        let stored = storage.get(&format!("{PREFIX}{:012}.step", index + 1)).unwrap();
        assert_eq!(bytes(block), stored, "step {}: {}", index + 1, crate::hash::hex(&stored));
        let step = &chain(&storage, index as u64 + 1).steps[0];
        let end = stored.len() - 72;
        let document = unpack(&stored[end - step.footer.metadata..end]).unwrap();
        println!("{} {}", String::from_utf8_lossy(&document.text), crate::hash::hex(&document.edits));
        if index == 1 {
            assert_eq!(String::from_utf8(document.text).unwrap(), texts[1]);
            assert_eq!(bytes(blocks("edits")[0]), document.edits);
        }
    }
    assert_eq!(steps.len(), 2);
}

#[test]
fn the_record_on_the_page_is_that_of_the_example() {
    let stored = example().get(&format!("{PREFIX}head")).unwrap();
    Record::parse(&stored).unwrap();
    assert_eq!(blocks("record"), [String::from_utf8(stored).unwrap().trim_end()]);
}

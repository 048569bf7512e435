//! The text that users write as a location.

#![no_main]

use libfuzzer_sys::fuzz_target;
use persist_paths::StorageLocation;

fuzz_target!(|text: &str| {
    match StorageLocation::parse(text) {
        Ok(location) => {
            assert!(!location.key().is_empty());
            let shown = location.to_string();
            // The text of a location means the same location. A path that was written as
            // file:// is shown as a path.
            if !matches!(location, StorageLocation::Local { .. }) {
                assert_eq!(StorageLocation::parse(&shown).ok(), Some(location));
            }
        }
        Err(error) => {
            assert!(error.location().is_some() && error.detail().hint.is_some());
            assert!(!error.location().is_some_and(|location| location.contains(char::is_control)), "a location that steers the terminal");
        }
    }
});

//! A second reader of timelines, written in Python from `docs/format.md` alone, reads what
//! the guest writes and refuses what is damaged.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use persist_guest::SaveOptions;
use persist_guest::codec::Codec;
use persist_guest::memory::MemoryStorage;
use persist_guest::timeline::{OnConflict, Timeline};
use persist_model::Policy;
use persist_test_support::damage;

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests")
}

fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok();
    if !found {
        println!("skipped: python3 is not installed");
        assert!(std::env::var_os("PERSIST_REQUIRE_TOOLS").is_none(), "python3 is required, but not installed");
    }
    found
}

/// Pseudo-random numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn text(&mut self, words: usize) -> String {
        let word = |random: &mut Self| -> String { (0..=random.below(7)).map(|_| char::from(b'a' + random.below(26) as u8)).collect() };
        (0..words).map(|_| word(self)).collect::<Vec<_>>().join(" ")
    }
}

/// Growing checkpoints: fields that change at the front, changes in the middle, messages at
/// the end; now and then another state, an empty one, and one that is much smaller.
fn states(count: usize) -> Vec<Vec<u8>> {
    let mut random = Random(7);
    let (mut messages, mut states) = (Vec::new(), Vec::new());
    for step in 0..count {
        let words = 5 + random.below(60);
        messages.push(format!(r#"{{"id":"{:08x}","content":"{}"}}"#, random.below(1 << 31), random.text(words)));
        if step % 7 == 3 {
            let at = random.below(messages.len());
            messages[at] = random.text(8);
        }
        states.push(match step % 61 {
            40 => Vec::new(),
            50 => random.text(8000).into_bytes(),
            60 => b"{}".to_vec(),
            _ => format!(r#"{{"step":{step},"versions":{{"a":"{:016}"}},"messages":[{}]}}"#, step * 7919, messages.join(",")).into_bytes(),
        });
    }
    states
}

/// Writes all objects of a timeline to a folder.
fn dump(storage: &MemoryStorage, folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for key in storage.keys() {
        fs::write(folder.join(key.strip_prefix("t/").unwrap()), storage.get(&key).unwrap()).unwrap();
    }
}

fn timeline(storage: &MemoryStorage) -> Timeline<MemoryStorage> {
    Timeline::new(storage.clone(), "t/")
}

fn written(states: &[Vec<u8>], codec: Codec) -> MemoryStorage {
    let storage = MemoryStorage::default();
    let mut writer = timeline(&storage);
    for state in states {
        let labels = vec![("é\"".to_owned(), "\u{1f}".to_owned())];
        let options = SaveOptions { codec: Some(codec), labels, ..SaveOptions::default() };
        writer.append(state.clone(), &options, OnConflict::Fail, None).unwrap();
    }
    writer.finish().unwrap();
    storage
}

fn python(harness: &str, arguments: &[&Path]) -> String {
    let mut command = Command::new("python3");
    command.args(["-B", "-c", harness]).arg(tests()).args(arguments);
    let Output { status, stdout, stderr } = command.output().expect("python starts");
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap().trim().to_owned()
}

/// Reads every step whose state is in a folder, and no other. Prints how many states were the
/// same, and how many were checked and could not be decoded.
const READ_ALL: &str = "
import os, sys
sys.path.insert(0, sys.argv[1])
import timeline_reader as r

timeline, same, undecoded = r.Timeline(sys.argv[2]), 0, 0
numbers = [int(name[:12]) for name in os.listdir(sys.argv[2]) if name.endswith('.step')]
for number in range(1, max(numbers) + 1):
    try:
        state = b''.join(timeline.state(number).read())
    except r.Undecoded:
        undecoded += 1
        continue
    except r.Refused as error:
        assert 'removed' in str(error) or 'missing' in str(error), (number, error)
        state = None
    try:
        expected = open(os.path.join(sys.argv[3], str(number)), 'rb').read()
    except FileNotFoundError:
        expected = None
    assert state == expected, number
    same += state is not None
for name in os.listdir(sys.argv[2]):
    if name.endswith(('.label', '.hidden', 'head')):
        r.read_record(timeline.file(name))
print(timeline.newest(), same, undecoded)
";

#[test]
fn it_reads_every_step() {
    if !has_python() {
        return;
    }
    let states = states(400);
    for codec in [Codec::Gzip, Codec::Zstd] {
        let storage = written(&states, codec);
        let folder = tempfile::tempdir().unwrap();
        let (objects, expected) = (folder.path().join("t"), folder.path().join("states"));
        fs::create_dir(&expected).unwrap();
        for (index, state) in states.iter().enumerate() {
            fs::write(expected.join((index + 1).to_string()), state).unwrap();
        }
        dump(&storage, &objects);
        let said = python(READ_ALL, &[&objects, &expected]);
        println!("{}: {said}", codec.name());
        let numbers: Vec<usize> = said.split(' ').map(|number| number.parse().unwrap()).collect();
        assert_eq!((numbers[0], numbers[1] + numbers[2]), (400, 400));
        // Most need no zstd.
        assert!(numbers[2] == 0 || codec == Codec::Zstd && numbers[1] > 60, "{said}");

        // After labels and a pruning: those that are kept, and the one that is repeated.
        for number in [30, 170, 171] {
            timeline(&storage).label(number, "a \"name\"\u{7f}\u{1}é", Some("\\\n")).unwrap();
            timeline(&storage).label(number, "gone", None).unwrap();
        }
        let policy = Policy::default().last(3).labels(vec![("a \"name\"\u{7f}\u{1}é".to_owned(), None)]);
        timeline(&storage).prune(&policy, persist_model::time::parse("2036-01-01T00:00:00Z").unwrap(), false).unwrap();
        let newest = timeline(&storage).newest().unwrap().unwrap();
        fs::remove_dir_all(&objects).unwrap();
        fs::remove_dir_all(&expected).unwrap();
        fs::create_dir(&expected).unwrap();
        let mut kept = 0;
        for number in 1..=newest {
            if let Ok((_, state)) = timeline(&storage).load(number, u64::MAX) {
                fs::write(expected.join(number.to_string()), state).unwrap();
                kept += 1;
            }
        }
        assert!((6..8).contains(&kept), "{kept}");
        dump(&storage, &objects);
        let said = python(READ_ALL, &[&objects, &expected]);
        println!("{}, pruned: {said}", codec.name());
        let numbers: Vec<u64> = said.split(' ').map(|number| number.parse().unwrap()).collect();
        assert_eq!((numbers[0], numbers[1] + numbers[2]), (newest, kept));
    }
}

#[test]
fn it_is_a_command() {
    if !has_python() {
        return;
    }
    let states: Vec<Vec<u8>> = states(20);
    let storage = written(&states, Codec::Zstd);
    let folder = tempfile::tempdir().unwrap();
    dump(&storage, folder.path());
    let run = |arguments: &[&str]| {
        Command::new("python3").arg(tests().join("timeline_reader.py")).arg(folder.path()).args(arguments).output().expect("python starts")
    };
    assert!(run(&[]).stdout == states[19] && run(&["7"]).stdout == states[6]);
    // The newest is never replaced by an older one.
    fs::remove_file(folder.path().join("000000000020.step")).unwrap();
    let refused = run(&[]);
    assert_eq!((refused.status.code(), refused.stdout), (Some(1), Vec::new()));
    assert_eq!(refused.stderr, b"refused: the newest steps are lost\n");
    timeline(&storage).delete().unwrap();
    dump(&storage, folder.path());
    for arguments in [&[][..], &["7"]] {
        let refused = run(arguments);
        let says = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && refused.stdout.is_empty() && says.contains("was removed"), "{says}");
    }
}

/// Tries every flipped bit, truncation and added byte of an object in one Python process.
const DAMAGE: &str = "
sys.path.insert(0, sys.argv[1])
import timeline_reader as r

class Changed(r.Timeline):
    def file(self, name):
        return self.changed if name == sys.argv[3] else super().file(name)

timeline = Changed(sys.argv[2])

def refuses(file):
    timeline.changed = file
    try:
        for _ in timeline.state(3).read():
            pass
        return False
    except r.ERRORS:
        return True

whole = r.Timeline(sys.argv[2]).file(sys.argv[3])
assert not refuses(whole)
report(whole, refuses, 8)
";

#[test]
fn it_refuses_every_damaged_step() {
    if !has_python() {
        return;
    }
    let long = "What is the capital of France? And of Germany, and of Italy?";
    let states =
        [format!(r#"{{"n":1,"text":"{long}"}}"#), format!(r#"{{"n":2,"text":"{long}!"}}"#), format!(r#"{{"n":3,"text":"{long}!?"}}"#)];
    let storage = written(&states.map(String::into_bytes), Codec::Zstd);
    let folder = tempfile::tempdir().unwrap();
    dump(&storage, folder.path());
    for number in 1..=3 {
        let name = format!("{number:012}.step");
        let said = python(&damage::harness(DAMAGE), &[folder.path(), Path::new(&name)]);
        println!("the second reader refused all {said} damaged forms of step {number}");
    }
}

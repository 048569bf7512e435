//! The documents are correct: every command in README.md, docs/command.md and
//! docs/format.md is run and its output compared.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use persist_test_support::command::{command_path, ok_in, persist};
use persist_test_support::workspace::workspace;
use persist_test_support::{craft, damage};

fn document(name: &str) -> String {
    fs::read_to_string(workspace().join(name)).expect("the document")
}

/// Returns the options in a text that begin with `start`, such as `--s3-region`.
fn options<'a>(text: &'a str, start: &str) -> std::collections::BTreeSet<&'a str> {
    let end = |rest: &str| rest.find(|letter: char| !letter.is_ascii_lowercase() && letter != '-' && !letter.is_ascii_digit());
    let name = |(start, _): (usize, &str)| &text[start..start + end(&text[start..]).unwrap_or(text.len() - start)];
    text.match_indices(start).map(name).collect()
}

#[test]
fn every_s3_option_is_documented_and_exists() {
    let (document, help) = (document("docs/s3.md"), ok_in(workspace(), &["snapshot", "--help-all"]));
    assert_eq!(options(&document, "--s3-"), options(&help, "--s3-"));
    assert!(options(&help, "--s3-").len() > 15);
}

/// Returns the contents of the code blocks in one language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("```{language}\n");
    text.split(&start).skip(1).map(|rest| rest.split("```").next().expect("split gives one")).collect()
}

/// Runs a line as a shell would, with this build's `persist` in the path.
fn shell(folder: &Path, line: &str) -> String {
    let command_folder = command_path().parent().expect("a folder");
    let mut paths = vec![command_folder.to_owned()];
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let mut command = Command::new("sh");
    for (name, value) in persist().get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(folder).env("PATH", std::env::join_paths(paths).expect("a path")).stdin(Stdio::null());
    let output = command.arg("-c").arg(format!("{line} 2>&1")).output().expect("sh starts");
    String::from_utf8(output.stdout).expect("text")
}

/// Replaces everything that differs from run to run: times, IDs, digests.
fn masked(text: &str) -> String {
    let is_digest = |word: &str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut masked = String::new();
    for line in text.trim_end().lines() {
        for (number, word) in line.split(' ').enumerate() {
            if number > 0 {
                masked.push(' ');
            }
            let is_time = word.len() >= 20 && word.ends_with('Z') && word.contains('T') && word.starts_with("20");
            let is_id = word.len() == 36 && word.matches('-').count() == 4;
            let follows_digest = line.trim_start().starts_with("digest");
            masked.push_str(match word {
                _ if is_time => "TIME",
                _ if is_id => "ID",
                _ if is_digest(word) && follows_digest => "DIGEST",
                word => word,
            });
        }
        masked.push('\n');
    }
    masked
}

fn with_sample_state() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::copy(workspace().join("examples/agent-state.json"), folder.path().join("agent-state.json")).expect("the sample");
    folder
}

#[test]
fn documents_show_what_the_command_prints() {
    for (name, at_least) in [("README.md", 5), ("docs/command.md", 18), ("docs/timelines.md", 8)] {
        let document = document(name);
        let folder = with_sample_state();
        let mut commands = 0;
        for block in blocks(&document, "console") {
            for step in block.split("$ ").skip(1) {
                let (line, expected) = step.split_once('\n').expect("a command and its output");
                assert_eq!(masked(&shell(folder.path(), line)), masked(expected), "{name}: $ {line}");
                commands += 1;
            }
        }
        assert!(commands >= at_least, "{name}: {commands}");
    }
}

#[test]
fn the_page_of_the_command_covers_the_help() {
    let (page, help) = (document("docs/command.md"), ok_in(workspace(), &["--help-all"]));
    let section =
        |start: &str| help.split(start).nth(1).expect("the section").trim_start_matches('\n').split("\n\n").next().expect("its lines");
    let commands = section("Commands:").lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let codes = section("Exit codes:").lines();
    let names: Vec<&str> = commands.chain(codes).filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() >= 29, "{names:?}");
    for name in names.iter().filter(|name| **name != "help") {
        let is_row = |line: &str| line.starts_with(&format!("| {name} |")) || line.starts_with(&format!("| `{name} "));
        assert!(page.lines().any(is_row), "{name}");
    }
    let commands = names.iter().filter(|name| name.parse::<u8>().is_err() && **name != "help");
    let helps: String = commands.map(|name| ok_in(workspace(), &[name, "--help-all"])).collect();
    let (_, reference) = page.split_once("\n## ").expect("a heading");
    let (named, known) = (options(reference, "--"), options(&helps, "--"));
    // The rules of tables consist of hyphens, too.
    let unknown: Vec<&&str> = named.difference(&known).filter(|name| name.contains(char::is_alphabetic)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn commands_in_documents_have_only_existing_options() {
    let mut lines = 0;
    for (name, language) in [("README.md", "bash"), ("docs/command.md", "bash"), ("docs/s3.md", "sh")] {
        let document = document(name);
        for line in blocks(&document, language).into_iter().flat_map(str::lines).filter(|line| line.starts_with("persist ")) {
            let words = line.split_whitespace().skip(1).take_while(|word| !matches!(*word, "|" | "<" | ">"));
            ok_in(workspace(), &words.chain(["--help"]).collect::<Vec<_>>());
            lines += 1;
        }
    }
    assert!(lines >= 10, "{lines}");
}

#[test]
fn the_readme_rounds_the_measured_speeds() {
    let (readme, page) = (document("README.md"), document("docs/performance.md"));
    let cells = |text: &str, start: &str| -> Vec<String> {
        let row = text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}"));
        row.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    for (row, measured) in [
        ("| save `.json.gz` |", "| `.json.gz`: save / Python's |"),
        ("| restore `.json.gz` |", "| `.json.gz`: restore / Python's"),
        ("| save `.json.zst` |", "| `.json.zst`: save / Python's |"),
        ("| restore `.json.zst` |", "| `.json.zst`: restore / the same |"),
    ] {
        let (row, measured) = (cells(&readme, row), cells(&page, measured));
        for (rounded, exact) in [(&row[2], &measured[2]), (&row[3], &measured[4])] {
            let speed = |text: &str| text.parse::<f64>().expect("a speed");
            assert!((speed(rounded) - speed(exact)).abs() < 0.0501, "{}: {rounded}, {exact}", row[1]);
        }
    }
}

#[test]
fn the_readme_names_every_command_of_the_workspace() {
    let readme = document("README.md");
    for line in blocks(&readme, "sh") {
        assert!(matches!(line.trim(), "cargo xtask demo" | "cargo xtask test"), "{line}");
    }
}

/// Returns the bytes of the example: hexadecimal digits, with a comment after three
/// spaces, and `@metadata` for the text of the JSON block.
fn example_bytes(format: &str) -> Vec<u8> {
    let metadata = blocks(format, "json")[0].trim_end();
    let mut bytes = Vec::new();
    for line in blocks(format, "hex")[0].lines() {
        if line == "@metadata" {
            bytes.extend_from_slice(metadata.as_bytes());
            continue;
        }
        let digits: String = line.split("   ").next().expect("split gives one").split(' ').collect();
        let digits: Vec<char> = digits.chars().collect();
        bytes.extend(digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("two digits")));
    }
    bytes
}

#[test]
fn the_example_of_the_format_is_a_snapshot() {
    let format = document("docs/format.md");
    let folder = tempfile::tempdir().expect("a folder");
    let command = blocks(&format, "console").into_iter().find_map(|block| block.trim().strip_prefix("$ printf")).expect("the command");
    assert_eq!(shell(folder.path(), &format!("printf{command}")), "");
    let made = fs::read(folder.path().join("example.json.gz")).expect("the file");
    assert_eq!(made.len(), 772);
    assert!(made == example_bytes(&format), "the bytes on the page are not those of the file");
    assert_eq!(ok_in(folder.path(), &["restore", "example.json.gz"]), "{}");
}

fn python_reader(folder: &Path) -> PathBuf {
    let reader = folder.join("reader.py");
    fs::write(&reader, blocks(&document("docs/format.md"), "python")[0]).expect("the reader");
    reader
}

#[test]
fn the_python_reader_reads_and_refuses() {
    let python = Command::new("python3").arg("--version").output();
    if python.is_err() {
        println!("skipped: python3 is not installed");
        assert!(std::env::var_os("PERSIST_REQUIRE_TOOLS").is_none());
        return;
    }
    let folder = with_sample_state();
    let folder = folder.path();
    let reader = python_reader(folder);
    let read = |name: &str| Command::new("python3").arg(&reader).arg(folder.join(name)).output().expect("python starts");

    fs::write(folder.join("large.json"), persist_test_support::command::chat_bytes(3_500_000)).expect("a state");
    fs::write(folder.join("empty.json"), "").expect("a state");
    for state in ["agent-state.json", "large.json", "empty.json"] {
        ok_in(folder, &["snapshot", state, "x.json.gz", "--label", "a=b"]);
        let output = read("x.json.gz");
        assert!(output.status.success(), "{output:?}");
        assert!(output.stdout == fs::read(folder.join(state)).expect("the state"), "{state}");
    }
    // A table of more than one carrier: over 400 blocks.
    let long = persist_test_support::command::chat_bytes(5 << 18).repeat(401);
    fs::write(folder.join("long.json"), &long).expect("a state");
    ok_in(folder, &["snapshot", "long.json", "long.json.gz", "--level", "1"]);
    assert!(read("long.json.gz").stdout == long);

    ok_in(folder, &["snapshot", "agent-state.json", "x.json.gz"]);
    let good = fs::read(folder.join("x.json.gz")).expect("the snapshot");
    for at in [0, 5_000, good.len() - 2_000, good.len() - 300, good.len() - 60, good.len() - 20] {
        let mut damaged = good.clone();
        damaged[at] ^= 4;
        fs::write(folder.join("damaged.gz"), damaged).expect("the damage");
        assert!(!read("damaged.gz").status.success(), "byte {at}");
    }
    fs::write(folder.join("two-states.gz"), craft::two_states()).expect("a file");
    let refused = read("two-states.gz");
    assert!(!refused.status.success() && refused.stdout.is_empty());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("does not end at a block boundary"), "{refused:?}");
    for golden in ["empty", "sealed", "blocks"] {
        let golden = workspace().join(format!("tests/golden/persist-{}/{golden}.json.gz", env!("CARGO_PKG_VERSION")));
        let output = read(golden.to_str().expect("text"));
        let expected = persist().arg("restore").arg(&golden).output().expect("persist starts");
        assert!(output.status.success() && expected.status.success() && output.stdout == expected.stdout, "{output:?}");
    }
    fs::write(folder.join("open.gz"), craft::open_end()).expect("a file");
    let refused = read("open.gz");
    assert!(!refused.status.success() && refused.stdout.is_empty());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("does not end with its last frame"), "{refused:?}");
    let sealed = workspace().join(format!("tests/golden/persist-{}/sealed.json.gz", env!("CARGO_PKG_VERSION")));
    assert_eq!(read(sealed.to_str().expect("text")).stderr, b"sealed, not checked\n");
    ok_in(folder, &["snapshot", "empty.json", "small.json.gz"]);
    for (file, bits) in [("small.json.gz", "8"), (sealed.to_str().expect("text"), "1")] {
        let mut harness = Command::new("python3");
        let output =
            harness.args(["-c", &damage::harness(HARNESS)]).arg(&reader).arg(folder.join(file)).arg(bits).output().expect("python starts");
        assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
        println!("{file}: the page's reader refused all {} damaged files", String::from_utf8_lossy(&output.stdout).trim());
    }
}

/// The harness that gives the reader on the page files with flipped bits (a given number
/// in each byte), truncations and added bytes.
const HARNESS: &str = "
import io
code = compile(open(sys.argv[1]).read(), 'reader.py', 'exec')
whole = open(sys.argv[2], 'rb').read()

def refuses(file):
    sys.stdout, sys.stderr = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    try:
        exec(code, {'open': lambda *_: io.BytesIO(file)})
        return False
    except (Exception, SystemExit):
        return sys.stdout.buffer.getvalue() == b''
    finally:
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__

assert not refuses(whole)
report(whole, refuses, int(sys.argv[3]))
";

//! Every bad input has its own error, takes little memory, and changes nothing that is
//! stored.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::resource::{UsageWho, getrusage};
use persist_test_support::command::{Done, command_path, files, ok_in, persist};
use persist_test_support::craft;
use persist_test_support::craft::{Lengths, carried, document, file, row, row_of};

/// The maximum memory of a command in MiB.
const MAX_RESIDENT: i64 = 128;

/// A name, the arguments, the exit code, and a part of the error message.
type Case = (&'static str, Vec<String>, i32, &'static str);

fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut compress = flate2::Compress::new(flate2::Compression::new(9), false);
    let mut out = Vec::with_capacity(plain.len() / 100 + 10_000);
    compress.compress_vec(plain, &mut out, flate2::FlushCompress::Sync).expect("it compresses");
    assert_eq!(compress.total_in(), plain.len() as u64);
    out
}

/// Returns a zstd frame of run-length blocks, each of 128 KiB in 4 bytes.
fn zstd_runs(blocks: usize, content_size: u64) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1110_0100];
    frame.extend_from_slice(&content_size.to_le_bytes());
    for number in 0..blocks {
        let header = (128_u32 << 10) << 3 | 1 << 1 | u32::from(number + 1 == blocks);
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(b'x');
    }
    frame.extend_from_slice(&[0; 4]);
    frame
}

/// Returns a file of one frame that matches its table, whatever the frame contains.
fn one_frame(gzip: bool, frame: &[u8], length: u32) -> Vec<u8> {
    craft::frames(gzip, &[(frame.to_vec(), length)], &[0; 32], 0)
}

/// Returns the footer of a file without a seal.
fn footer(format: u32, data: u64, table: u32, length: u32, document: &[u8]) -> Vec<u8> {
    Lengths { format, seal: 0, data, table, document: length }.footer(document, &[])
}

/// Creates a sparse file of which only the end is written.
fn sparse(path: &Path, length: u64, end: &[u8]) {
    let mut file = File::create(path).expect("a file");
    file.set_len(length).expect("a length");
    file.seek(SeekFrom::Start(length - end.len() as u64)).expect("a place");
    file.write_all(end).expect("it is written");
}

/// Returns a zstd footer in its carrier.
fn zstd_footer(footer: &[u8]) -> Vec<u8> {
    [&[0x53, 0x2a, 0x4d, 0x18, 64, 0, 0, 0][..], footer].concat()
}

/// Creates files that are not valid snapshots, with a case that verifies each.
fn files_of(folder: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |name: &'static str, bytes: &[u8], code: i32, says: &'static str| {
        fs::write(folder.join(name), bytes).expect("a file");
        cases.push((name, vec!["verify".to_owned(), name.to_owned()], code, says));
    };
    let good = fs::read(folder.join("kept.gz")).expect("the good one");
    let changed = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        bytes
    };
    let end = good.len();
    let fields = end - 74;

    case("empty", b"", 5, "the file is empty");
    case("one byte", b"\x1f", 5, "neither gzip nor zstd");
    case("a text", b"hello", 5, "neither gzip nor zstd");
    case("an image", b"\x89PNG\r\n\x1a\n", 5, "neither gzip nor zstd");
    case("a state", b"{\"messages\": []}", 5, "neither gzip nor zstd");
    case("zeros", &[0; 100_000], 5, "neither gzip nor zstd");
    case("another gzip", b"\x1f\x8b\x08\x08\0\0\0\0\0\x03name\0\x03\0\0\0\0\0\0\0\0\0", 5, "Persist did not write");
    case("another zstd", b"\x28\xb5\x2f\xfd\x24\x00\x01\x00\x00\x99\xe9\xd8\x51", 5, "a zstd file that Persist did not write");
    case("the beginning of a zstd one", &zstd_runs(1, 128 << 10), 5, "cut short");
    case("cut in the header", &good[..5], 5, "not a snapshot");
    case("cut in the data", &good[..40], 5, "cut short");
    case("cut in the table", &good[..good.len() - 700], 5, "cut short");
    case("cut in the metadata", &good[..good.len() - 200], 5, "cut short");
    case("cut in the footer", &good[..good.len() - 30], 5, "does not end with its footer");
    case("cut by one byte", &good[..good.len() - 1], 5, "does not end with its footer");
    case("one byte more", &[&good[..], b"\n"].concat(), 5, "does not end with its footer");
    case("twice", &[&good[..], &good].concat(), 5, "bytes long, but its footer declares");
    case("bytes before", &[b"x", &good[..]].concat(), 5, "bytes long, but its footer declares");
    let future = [&2_u32.to_le_bytes()[..], &good[fields + 12..fields + 32], &[0; 32]].concat();
    case("a future format", &changed(fields + 8, &future), 5, "format 2");
    case("a changed format number", &changed(fields + 8, &2_u32.to_le_bytes()), 5, "changed from 1 to 2");
    let far = [&u32::MAX.to_le_bytes()[..], &future[4..]].concat();
    case("a far future format", &changed(fields + 8, &far), 5, "format 4294967295");
    case("format 0", &changed(fields + 8, &[0; 4]), 5, "format 0");
    case("a seal that is not there", &changed(fields + 12, &[1]), 5, "its footer declares");
    case("a seal of 2^32 - 1", &changed(fields + 12, &u32::MAX.to_le_bytes()), 5, "the footer declares");
    case("data length 0", &changed(fields + 16, &[0; 8]), 5, "its footer declares");
    case("data length 2^64 - 1", &changed(fields + 16, &u64::MAX.to_le_bytes()), 5, "its footer declares");
    case("table length 0", &changed(fields + 24, &[0; 4]), 5, "its footer declares");
    case("table length 2^32 - 1", &changed(fields + 24, &u32::MAX.to_le_bytes()), 5, "the footer declares");
    case("metadata length 2^32 - 1", &changed(fields + 28, &u32::MAX.to_le_bytes()), 5, "the footer declares");
    case("a wrong digest", &changed(fields + 32, &[0; 32]), 5, "do not match the digest");
    case("a changed carrier", &changed(fields - 4, b"PX"), 5, "the footer was changed");
    case("a changed header", &changed(4, &[1]), 5, "the header before the first frame");
    case("a changed frame", &changed(12, &[0xff]), 5, "a frame was changed");

    let frame = deflate(b"state");
    let data = craft::data(true, &frame, 5, 0);
    let with_row = |row: Vec<u8>| file(true, &data, &row, document(true, 5, data.len() as u64, &row).as_bytes());
    let hash = [0; 32];
    case("a frame of 2^32 - 1", &with_row(row_of(u32::MAX, 5, &hash)), 5, "block 0");
    case("a frame of nothing", &with_row(row_of(0, 5, &hash)), 5, "block 0");
    case("a block of 2^32 - 1", &with_row(row_of(frame.len() as u32, u32::MAX, &hash)), 5, "block 0");
    case("a block of nothing", &with_row([row_of(frame.len() as u32, 0, &hash), row(&frame, 5)].concat()), 5, "block 0");
    case("a longer frame", &with_row(row_of(frame.len() as u32 + 1, 5, &hash)), 5, "do not agree");
    case("half a row", &with_row(row(&frame, 5)[..20].to_vec()), 5, "not a whole number of rows");
    case("a block shorter than its frame", &one_frame(true, &frame, 4), 5, "breaks the rules of gzip");
    case("a block longer than its frame", &one_frame(true, &frame, 6), 5, "breaks the rules of gzip");
    case("garbage in gzip", &one_frame(true, &[0xff; 50], 50), 5, "breaks the rules of gzip");
    case("garbage in zstd", &one_frame(false, &[0xff; 50], 50), 5, "breaks the rules of zstd");

    // 1 MB that expands to 1 GB, declared as a block of the maximum size.
    case("a gzip bomb", &one_frame(true, &deflate(&vec![0; 1 << 30])[..1_000_000], 8 << 20), 5, "breaks the rules of gzip");
    case("a gzip bomb of a small block", &one_frame(true, &deflate(&vec![0; 600_000]), 100), 5, "breaks the rules of gzip");
    // 300 KB that expand to 10 GB, with the declared size right or wrong.
    case("a zstd bomb that says so", &one_frame(false, &zstd_runs(76_000, 10 << 30), 8 << 20), 5, "breaks the rules of zstd");
    case("a zstd bomb that lies", &one_frame(false, &zstd_runs(76_000, 8 << 20), 8 << 20), 5, "breaks the rules of zstd");
    let rows = row_of(1, 8 << 20, &hash).repeat(200_000);
    let huge = (8_u64 << 20) * 200_000;
    case(
        "a table that declares 1.6 TB",
        &file(true, &data, &rows, document(true, huge, data.len() as u64, &rows).as_bytes()),
        5,
        "do not agree",
    );

    let with_document = |text: &str| file(true, &data, &row(&frame, 5), text.as_bytes());
    let right = document(true, 5, data.len() as u64, &row(&frame, 5));
    let edited = |from: &str, to: &str| with_document(&right.replacen(from, to, 1));
    let deep = format!("\"metadata\":{{\"x\":{}{},", "[".repeat(10_000), "]".repeat(10_000));
    case("a document of 10,000 levels", &edited("\"metadata\":{", &deep), 5, "can't be read");
    case("a name twice", &edited("{", "{\"codec\":\"gzip\","), 5, "not unique");
    case("a name twice inside", &edited("\"agent_id\"", "\"agent_id\":\"\",\"agent_id\""), 5, "not unique");
    case(
        "invalid UTF-8",
        &file(
            true,
            &data,
            &row(&frame, 5),
            &right
                .replace("gzip", "gz\u{0}p")
                .replace('\u{0}', "\u{80}")
                .into_bytes()
                .iter()
                .map(|byte| if *byte == 0xc2 { 0xff } else { *byte })
                .collect::<Vec<_>>(),
        ),
        5,
        "the metadata",
    );
    case("no JSON", &with_document("{"), 5, "not a single JSON object");
    case("a list", &with_document("[]"), 5, "not a single JSON object");
    case("an unknown codec", &edited("gzip", "lzma"), 5, "'lzma' is not known");
    case("the other codec", &with_document(&document(false, 5, data.len() as u64, &row(&frame, 5))), 5, "a different codec");
    case("no blocks", &edited("8388608", "0"), 5, "block size is 0");
    case("huge blocks", &edited("8388608", "4294967295"), 5, "block size is 4294967295");
    case("blocks below zero", &edited("8388608", "-1"), 5, "'block_size' is not valid");
    case("no agent", &edited("\"agent_id\":\"\",", ""), 5, "no 'agent_id'");
    case("a number for a text", &edited("\"agent_id\":\"\"", "\"agent_id\":7"), 5, "'agent_id' is not valid");
    case("no hash", &edited("\"content_hash\":\"", "\"content_hash\":\"x"), 5, "64 hexadecimal digits");
    case("no hash of the table", &edited("\"table_hash\":\"", "\"table_hash\":\"x"), 5, "64 hexadecimal digits");
    case("another table", &with_document(&document(true, 5, data.len() as u64, b"another")), 5, "the block table was changed");
    case("another kind", &edited("{", "{\"kind\":\"step\","), 5, "of kind 'step'");
    case("an id that is none", &edited("01890a5d", "01890A5D"), 5, "not a UUID");
    case("a time that is none", &edited("12:00:00.000000Z", "12:00:00Z"), 5, "not an RFC 3339 time in UTC");
    case("another hash", &with_document(&right), 5, "does not match the content hash");
    case("a digest of its own", &edited("\"agent_id\"", "\"digest\":\"\",\"agent_id\""), 5, "reserved name 'digest'");
    case("an index beyond 2^53", &edited("\"snapshot_index\":0", "\"snapshot_index\":9007199254740992"), 5, "2^53");

    // Sparse files of hundreds of megabytes.
    let tiny = 10_000_000_u64 * 40;
    let end = zstd_footer(&footer(1, 0, tiny as u32, 2, b"{}"));
    sparse(&folder.join("10,000,000 tiny blocks"), tiny + 8 + 2 + 8 + 72, &end);
    cases.push(("10,000,000 tiny blocks", vec!["verify".to_owned(), "10,000,000 tiny blocks".to_owned()], 9, "at most 262144 blocks"));
    let end = zstd_footer(&footer(1, 0, 40, 1_000_000_000, &[]));
    sparse(&folder.join("a document of 1 GB"), 48 + 8 + 1_000_000_000 + 72, &end);
    cases.push(("a document of 1 GB", vec!["verify".to_owned(), "a document of 1 GB".to_owned()], 5, "metadata of 1000000000 bytes"));
    let end = carried(false, &[0; 40], b"{}", &[], &footer(1, (1 << 40) - 200, 40, 2, b"{}"));
    sparse(&folder.join("a terabyte of nothing"), (1 << 40) - 200 + end.len() as u64, &end);
    cases.push(("a terabyte of nothing", vec!["verify".to_owned(), "a terabyte of nothing".to_owned()], 5, "no 'codec'"));
    cases
}

fn arguments(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(ToString::to_string).collect()
}

/// Returns cases with invalid arguments or unusable files.
fn commands_of(folder: &Path) -> Vec<Case> {
    fs::create_dir_all(folder.join("folder/inside")).expect("a folder");
    symlink("circle", folder.join("circle")).expect("a link");
    symlink("nowhere/at/all", folder.join("dangling")).expect("a link");
    let long = format!("folder/{}", "x".repeat(5000));
    vec![
        ("STATE is missing", arguments(&["snapshot", "missing", "new.gz"]), 3, "no such state file"),
        ("STATE is a folder", arguments(&["snapshot", "folder", "new.gz"]), 2, "the state is a folder"),
        ("DEST is a folder", arguments(&["snapshot", "state.json", "folder", "--if-match", "x"]), 2, "DEST is a folder"),
        ("SRC ends with a slash", arguments(&["verify", "new/"]), 2, "this is a folder"),
        ("DEST is below a file", arguments(&["snapshot", "state.json", "state.json/new.gz"]), 2, "a parent of the path is a file"),
        ("DEST is empty", arguments(&["snapshot", "state.json", ""]), 2, "it is empty"),
        ("DEST is a device", arguments(&["snapshot", "state.json", "/dev/null"]), 2, "a device"),
        ("DEST has a newline", arguments(&["snapshot", "state.json", "a\nb.gz"]), 2, "control characters"),
        ("DEST has 5,000 characters", arguments(&["snapshot", "state.json", &long]), 2, "1,024 bytes"),
        ("DEST has a name of 300 bytes", arguments(&["snapshot", "state.json", &"x".repeat(300)]), 2, "can't be used"),
        (
            "DEST is reserved",
            arguments(&["snapshot", "state.json", ".persist-00000000000000000000000000000000.tmp"]),
            2,
            "unfinished writes",
        ),
        ("an unknown scheme", arguments(&["snapshot", "state.json", "gopher://x/y"]), 2, "'gopher' is not known"),
        ("S3 without credentials", arguments(&["snapshot", "state.json", "s3://bucket/x.gz"]), 6, "AWS credentials not found"),
        ("SRC is missing", arguments(&["restore", "missing.gz"]), 3, "no such file"),
        ("SRC is a folder", arguments(&["restore", "folder"]), 3, "no such snapshot in this folder"),
        ("SRC is a circle", arguments(&["restore", "circle"]), 2, "can't be used"),
        ("SRC leads nowhere", arguments(&["restore", "dangling"]), 3, "no such file"),
        ("the output is a folder", arguments(&["restore", "kept.gz", "-o", "folder"]), 2, "this is a folder"),
        ("the output is below a file", arguments(&["restore", "kept.gz", "-o", "state.json/x"]), 2, "a parent of the path is a file"),
        ("the disk is full", arguments(&["restore", "kept.gz", "-o", "/dev/full"]), 8, "could not write the state"),
        ("the folder is missing", arguments(&["list", "missing"]), 3, "no such folder"),
        ("the folder is a file", arguments(&["doctor", "state.json"]), 2, "a file, not a folder"),
        ("nothing to delete", arguments(&["delete", "missing.gz", "--yes"]), 3, "no such file"),
        ("a folder to delete", arguments(&["delete", "folder", "--yes"]), 2, "this is a folder"),
        ("no terminal to ask on", arguments(&["delete", "kept.gz"]), 2, "no terminal to ask on"),
        ("exists already", arguments(&["snapshot", "state.json", "kept.gz", "--if-exists", "fail"]), 4, "the file already exists"),
        ("an etag on local files", arguments(&["snapshot", "state.json", "kept.gz", "--if-match", "x"]), 7, "the precondition if-match"),
    ]
}

fn peak_of_children() -> i64 {
    getrusage(UsageWho::RUSAGE_CHILDREN).expect("the system tells").max_rss() >> if cfg!(target_os = "macos") { 20 } else { 10 }
}

fn run(folder: &Path, arguments: &[String]) -> Done {
    persist().current_dir(folder).args(arguments).stdin(Stdio::null()).output().expect("persist starts").into()
}

#[test]
fn every_bad_input_has_its_own_error_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::write(folder.join("state.json"), persist_test_support::command::chat_bytes(3000)).expect("a state");
    ok_in(folder, &["snapshot", "state.json", "kept.gz"]);
    let kept = fs::read(folder.join("kept.gz")).expect("the good one");
    let mut cases = files_of(folder);
    cases.extend(commands_of(folder));
    let before = files(folder);
    for (name, arguments, code, says) in &cases {
        let done = run(folder, arguments);
        assert_eq!(done.code, *code, "{name}: {done:?}");
        assert!(done.stderr.starts_with("error: ") && done.stderr.contains(says), "{name}: {done:?}");
        assert_eq!(done.stderr.lines().count(), 1, "{name}: {done:?}");
        let peak = peak_of_children();
        assert!(peak < MAX_RESIDENT, "{name}: {peak} MiB");
        assert_eq!(files(folder), before, "{name}: nothing is made or lost");
        assert!(fs::read(folder.join("kept.gz")).expect("the good one") == kept, "{name}");
    }
    println!("{} bad inputs, each with its own error; at most {} MiB of memory", cases.len(), peak_of_children());
    assert!(cases.len() >= 60, "{}", cases.len());
    persist_test_support::command::assert_page_says("security.md", &format!("{} bad inputs", cases.len()));
}

/// Salvage reads hostile files, too, and recovers what is there in little memory.
#[test]
fn salvaging_any_bad_file_takes_bounded_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::write(folder.join("state.json"), persist_test_support::command::chat_bytes(3000)).expect("a state");
    ok_in(folder, &["snapshot", "state.json", "kept.gz"]);
    for (name, _, _, _) in files_of(folder) {
        // A gzip bomb without its end is a gigabyte of zeros, which is streamed.
        let done = run(folder, &arguments(&["salvage", name, "-o", "/dev/null", "--quiet"]));
        assert!(matches!(done.code, 0 | 5 | 9), "{name}: {done:?}");
        let peak = peak_of_children();
        assert!(peak < MAX_RESIDENT, "{name}: {peak} MiB");
    }
}

/// What a shell may do to the streams of a command.
#[test]
fn closed_streams_and_limits_are_errors() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::write(folder.join("state.json"), b"{}").expect("a state");
    fs::write(folder.join("large.json"), persist_test_support::command::chat_bytes(5_000_000)).expect("a state");
    ok_in(folder, &["snapshot", "state.json", "kept.gz"]);
    let before = files(folder);
    let command_folder = command_path().parent().expect("a folder");
    let shell = |line: &str| -> Done {
        let mut shell = Command::new("sh");
        let path = format!("{}:{}", command_folder.display(), std::env::var("PATH").unwrap_or_default());
        shell.current_dir(folder).args(["-c", line]).env("PATH", path);
        shell.output().expect("sh starts").into()
    };
    // Limits files to 512 KiB, as a quota or a full disk would.
    let done = shell("trap '' XFSZ; ulimit -f 1024; persist snapshot large.json kept.gz");
    assert_eq!(done.code, 8, "{done:?}");
    assert!(done.stderr.contains("no space is left"), "{done:?}");
    let done = shell("persist restore kept.gz > /dev/full");
    assert_eq!(done.code, 8, "{done:?}");
    assert!(done.stderr.contains("could not write to standard output"), "{done:?}");
    let done = shell("persist snapshot large.json big.zst -q && persist restore big.zst | head -c 10; rm big.zst");
    assert_eq!((done.stdout.len(), done.stderr.as_str()), (10, ""));
    // With closed streams, the command must not panic, whatever the outcome.
    for line in ["persist show kept.gz >&-", "persist snapshot - new.gz -q <&-; rm -f new.gz", "persist show missing 2>&-"] {
        let done = shell(line);
        assert!(!done.stderr.contains("panicked") && done.code < 10, "{line}: {done:?}");
    }
    assert_eq!(files(folder), before);
    assert_eq!(ok_in(folder, &["restore", "kept.gz"]), "{}");
}

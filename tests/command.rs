//! The `persist` command, as a user runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use persist_test_support::command::{chat_bytes, command_path, files, json, ok_in, persist, pipe, run_in};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// The ID of a user and group that own nothing.
const NOBODY: u32 = 65_534;

const STATE: &[u8] = br#"{"messages": [{"role": "user", "content": "Hello"}]}"#;

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("state.json"), STATE).expect("a state");
    folder
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_state_is_saved_shown_verified_listed_and_restored() {
    for name in ["0001.json.gz", "0001.json.zst", "0001"] {
        let folder = folder();
        let folder = folder.path();
        let key = format!("agents/{name}");
        let saved = ok_in(folder, &["snapshot", "state.json", &key]);
        assert!(saved.starts_with(&format!("saved {key}: 52 bytes of state in ")), "{saved}");
        assert_eq!(files(folder), ["agents", &key, "state.json"]);

        let shown = ok_in(folder, &["show", &key]);
        for part in [name, "default_agent", "default_session", "application/json", "52 bytes", &sha256(STATE)] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        assert_eq!(ok_in(folder, &["verify", &key]), format!("{key}: ok, 52 bytes of state, SHA-256 {}\n", sha256(STATE)));
        assert_eq!(ok_in(folder, &["exists", &key]), format!("{key} exists\n"));
        assert_eq!(ok_in(folder, &["restore", &key]).as_bytes(), STATE);
        assert_eq!(ok_in(folder, &["restore", &key, "-o", "out/state.json"]), "restored out/state.json: 52 bytes of state\n");
        assert_eq!(fs::read(folder.join("out/state.json")).expect("the state"), STATE);
        assert!(ok_in(folder, &["list", "agents"]).contains(name));
        assert_eq!(ok_in(folder, &["delete", &key, "--yes"]), format!("deleted {key}\n"));
        assert_eq!(run_in(folder, &["exists", &key]).code, 3);
    }
}

#[test]
fn json_is_one_flat_object_with_every_field() {
    let folder = folder();
    let folder = folder.path();
    let arguments = [
        "snapshot",
        "state.json",
        "x.json.zst",
        "--json",
        "--agent-id",
        "support",
        "--session-id",
        "s-1",
        "--index",
        "7",
        "--description",
        "before the update",
        "--label",
        "env=prod",
        "--label",
        "a=b=c",
        "--content-type",
        "text/plain",
        "--level",
        "-3",
        "--snapshot-id",
        "01890a5d-ac96-774b-bcce-b302099a8057",
        "--timestamp",
        "2026-01-31T12:00:00+01:00",
    ];
    let saved = json(&ok_in(folder, &arguments));
    let shown = json(&ok_in(folder, &["show", "x.json.zst", "--json"]));
    assert_eq!(saved, shown);
    let expected = serde_json::json!({
        "location": "x.json.zst", "key": "x.json.zst", "kind": "snapshot", "seal": "none", "encryption": "none",
        "snapshot_id": "01890a5d-ac96-774b-bcce-b302099a8057", "agent_id": "support", "session_id": "s-1",
        "snapshot_index": 7, "timestamp": "2026-01-31T11:00:00.000000Z", "description": "before the update",
        "labels": {"a": "b=c", "env": "prod"}, "content_type": "text/plain", "content_hash": sha256(STATE), "uncompressed_size": 52,
        "compression_algorithm": "zstd", "format_version": 1, "producer": concat!("persist/", env!("CARGO_PKG_VERSION")),
        "stored_size": fs::metadata(folder.join("x.json.zst")).expect("it is there").len(),
        "compressed_size": shown["compressed_size"], "root": shown["root"], "digest": shown["digest"], "etag": shown["etag"],
    });
    assert_eq!(shown, expected);
    for name in ["root", "digest"] {
        assert_eq!(shown[name].as_str().map(str::len), Some(64));
    }
    assert_eq!(json(&ok_in(folder, &["verify", "x.json.zst", "--json"])), shown);
    assert_eq!(json(&ok_in(folder, &["restore", "x.json.zst", "--json", "-o", "out"])), shown);
    assert_eq!(json(&ok_in(folder, &["exists", "x.json.zst", "--json"])), serde_json::json!({"location": "x.json.zst", "exists": true}));
    let missing = run_in(folder, &["exists", "y", "--json"]);
    assert_eq!((missing.code, json(&missing.stdout)["exists"].clone()), (3, Value::Bool(false)));
    let deleted = json(&ok_in(folder, &["delete", "x.json.zst", "--json", "--yes"]));
    assert_eq!(deleted, serde_json::json!({"location": "x.json.zst", "deleted": true}));
}

#[test]
fn equal_input_gives_equal_files() {
    let folder = folder();
    let folder = folder.path();
    for name in ["a.gz", "b.gz"] {
        let fixed = ["--snapshot-id", "01890a5d-ac96-774b-bcce-b302099a8057", "--timestamp", "2026-01-31T12:00:00Z"];
        ok_in(folder, &[&["snapshot", "state.json", name], &fixed[..]].concat());
    }
    assert_eq!(fs::read(folder.join("a.gz")).expect("a"), fs::read(folder.join("b.gz")).expect("b"));
}

#[test]
fn the_codec_depends_on_the_name_or_the_option() {
    let folder = folder();
    let folder = folder.path();
    for (name, codec, expected) in [
        ("a.gz", "auto", "gzip"),
        ("a.zst", "auto", "zstd"),
        ("a.json", "auto", "gzip"),
        ("b.gz", "zstd", "zstd"),
        ("b.zst", "gzip", "gzip"),
        ("c.ZST", "auto", "zstd"),
        ("c.Zst", "auto", "zstd"),
        ("c.json.zstd", "auto", "zstd"),
        ("c.ZSTD", "auto", "zstd"),
        ("c.GZ", "auto", "gzip"),
        ("zst", "auto", "gzip"),
        ("c.zst.json", "auto", "gzip"),
    ] {
        let saved = json(&ok_in(folder, &["snapshot", "state.json", name, "--codec", codec, "--json"]));
        assert_eq!(saved["compression_algorithm"], expected, "{name} {codec}");
        // Reading detects the codec by the content.
        assert_eq!(ok_in(folder, &["restore", name]).as_bytes(), STATE);
    }
    let done = run_in(folder, &["snapshot", "state.json", "c.gz", "--level", "10"]);
    assert_eq!(done.code, 2);
    assert!(done.stderr.contains("gzip has no level 10; it has 1 to 9"), "{}", done.stderr);
    assert!(!folder.join("c.gz").exists());
}

#[test]
fn state_comes_from_stdin_and_goes_to_stdout() {
    let folder = folder();
    let state = chat_bytes(3_000_000);
    let mut save = persist();
    save.current_dir(folder.path()).args(["snapshot", "-", "big.json.gz", "--quiet"]);
    let saved = pipe(save, &state);
    assert!(saved.status.success() && saved.stdout.is_empty() && saved.stderr.is_empty(), "{saved:?}");
    for arguments in
        [&["restore", "big.json.gz"][..], &["restore", "big.json.gz", "-o", "-"], &["restore", "big.json.gz", "-o", "/dev/stdout", "-q"]]
    {
        let restored = persist().current_dir(folder.path()).args(arguments).output().expect("persist starts");
        assert!(restored.status.success() && restored.stderr.is_empty(), "{arguments:?}");
        assert!(restored.stdout == state, "{arguments:?}");
    }
}

#[test]
fn if_exists_is_respected_and_a_refused_snapshot_replaces_nothing() {
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("second.json"), b"{}").expect("a second state");
    ok_in(folder, &["snapshot", "state.json", "x.gz", "--if-exists", "fail"]);
    let refused = run_in(folder, &["snapshot", "second.json", "x.gz", "--if-exists", "fail"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.stderr.starts_with("error: Already exists: "), "{refused:?}");
    assert_eq!(ok_in(folder, &["restore", "x.gz"]).as_bytes(), STATE);
    ok_in(folder, &["snapshot", "second.json", "x.gz", "--durability", "none"]);
    assert_eq!(ok_in(folder, &["restore", "x.gz"]), "{}");
}

/// Other files have their own errors, and nothing is created.
#[test]
fn a_file_that_is_not_a_snapshot_is_refused() {
    let folder = folder();
    let folder = folder.path();
    fs::create_dir(folder.join("folder")).expect("a folder");
    fs::write(folder.join("empty"), b"").expect("an empty file");
    // As gzip writes it, with a name and a time.
    let mut gzip = Vec::new();
    let mut encoder = flate2::GzBuilder::new().filename("log").mtime(1).read(&b"a log"[..], flate2::Compression::default());
    encoder.read_to_end(&mut gzip).expect("it compresses");
    fs::write(folder.join("plain.gz"), gzip).expect("a gzip file");
    fs::write(folder.join("image.png"), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").expect("an image");
    ok_in(folder, &["snapshot", "state.json", "good.gz"]);
    let good = fs::read(folder.join("good.gz")).expect("the snapshot");
    fs::write(folder.join("cut.gz"), &good[..good.len() - 1]).expect("a truncated file");
    fs::write(folder.join("half.gz"), &good[..good.len() / 2]).expect("a truncated file");
    let mut newer = good.clone();
    let version = good.len() - 74 + 8;
    newer[version] = 9;
    // A newer format may compute its digest differently.
    newer[version + 24] ^= 1;
    fs::write(folder.join("newer.gz"), newer).expect("a newer file");
    let mut flipped = good;
    flipped[15] ^= 1;
    fs::write(folder.join("flipped.gz"), flipped).expect("a damaged file");

    let before = files(folder);
    for (file, exit_code, code, says) in [
        ("empty", 5, "not-a-snapshot", "the file is empty"),
        ("plain.gz", 5, "not-a-snapshot", "a gzip file that Persist did not write"),
        ("image.png", 5, "not-a-snapshot", "neither gzip nor zstd"),
        ("state.json", 5, "not-a-snapshot", "neither gzip nor zstd"),
        ("cut.gz", 5, "integrity", "does not end with its footer"),
        ("half.gz", 5, "invalid-format", "cut short"),
        ("newer.gz", 5, "unsupported-format", "format 9"),
        ("flipped.gz", 5, "integrity", "a frame was changed"),
        ("missing.gz", 3, "not-found", "there is no such file"),
        ("missing/x.gz", 3, "not-found", "there is no such file"),
        ("state.json/x.gz", 3, "not-found", "there is no such file"),
        ("/dev/null", 2, "invalid-key", "a device"),
        ("", 2, "invalid-argument", "it is empty"),
        ("ftp://host/x", 2, "invalid-argument", "the scheme 'ftp' is not known"),
        ("s3://bucket/x.gz", 6, "credentials", "AWS credentials not found"),
    ] {
        for arguments in [&["restore", file, "-o", "out"][..], &["restore", file, "-o", "new/out"], &["verify", file], &["restore", file]] {
            let done = run_in(folder, arguments);
            assert_eq!(done.code, exit_code, "{arguments:?}: {done:?}");
            assert!(done.stderr.starts_with("error: ") && done.stderr.contains(says), "{arguments:?}: {done:?}");
            assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
            let mut with_json = arguments.to_vec();
            with_json.push("--json");
            let error = json(&run_in(folder, &with_json).stderr);
            assert_eq!((error["code"].as_str(), error["exit_code"].as_i64()), (Some(code), Some(exit_code.into())), "{error}");
            assert!(error["message"].as_str().is_some_and(|message| message.contains(says)), "{error}");
        }
        assert_eq!(files(folder), before, "{file}");
    }
    // 'flipped.gz' is not among these: its damage is in the data, which 'show' does not
    // read.
    for file in ["empty", "plain.gz", "image.png", "cut.gz", "half.gz", "newer.gz"] {
        assert_eq!(run_in(folder, &["show", file]).code, 5, "{file}");
    }
    // 'restore' takes a folder, 'verify' does not.
    for file in ["folder", "folder/"] {
        let done = run_in(folder, &["restore", file]);
        assert!(done.code == 3 && done.stderr.contains("no such snapshot in this folder"), "{done:?}");
        let done = run_in(folder, &["verify", file]);
        assert!(done.code == 2 && done.stderr.contains("this is a folder"), "{done:?}");
    }
}

/// As with gzip and `cp -p`.
#[test]
fn a_private_state_stays_private() {
    let folder = folder();
    let folder = folder.path();
    let mode = |name: &str| fs::metadata(folder.join(name)).expect("it is there").permissions().mode() & 0o777;
    let set_mode = |name: &str, mode| fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).expect("permissions");
    for (file, snapshot) in [(0o600, "private.gz"), (0o640, "group.zst"), (0o664, "shared.gz")] {
        set_mode("state.json", file);
        ok_in(folder, &["snapshot", "state.json", snapshot]);
        let restored = format!("out/{snapshot}.json");
        ok_in(folder, &["restore", snapshot, "-o", &restored]);
        ok_in(folder, &["copy", snapshot, &format!("copied/{snapshot}")]);
        ok_in(folder, &["salvage", snapshot, "-o", "salvaged.json"]);
        for name in [snapshot, &restored, &format!("copied/{snapshot}"), "salvaged.json"] {
            assert_eq!(mode(name), file, "{name}");
        }
    }
    ok_in(folder, &["copy", "--recursive", "copied", "again"]);
    assert_eq!([mode("again/private.gz"), mode("again/group.zst"), mode("again/shared.gz")], [0o600, 0o640, 0o664]);
    // The source decides, even if a file is replaced.
    set_mode("state.json", 0o600);
    ok_in(folder, &["snapshot", "state.json", "shared.gz"]);
    assert_eq!(mode("shared.gz"), 0o600);
    // Without a source file, the replaced file decides, and for a new file the umask.
    let from_stdin = |name: &str| {
        let mut save = persist();
        save.current_dir(folder).args(["snapshot", "-", name]);
        assert!(pipe(save, STATE).status.success());
    };
    set_mode("group.zst", 0o640);
    from_stdin("group.zst");
    from_stdin("new.gz");
    fs::write(folder.join("other"), "").expect("a file");
    assert_eq!((mode("group.zst"), mode("new.gz")), (0o640, mode("other")));
}

/// Only root can create another user's file for this test and replace it.
#[test]
fn a_file_of_another_user_does_not_widen_the_permissions_of_its_replacement() {
    let folder = folder();
    let folder = folder.path();
    let save = |umask: &str, name: &str| {
        let mut shell = Command::new("sh");
        let saves = format!("umask {umask} && exec \"$0\" snapshot - \"$1\"");
        shell.current_dir(folder).args(["-c", &saves]).arg(command_path()).arg(name);
        let done = persist_test_support::command::Done::from(pipe(shell, STATE));
        assert_eq!(done.code, 0, "{done:?}");
    };
    let me = nix::unistd::geteuid();
    let replaced = |owner: u32, earlier: u32, umask: &str| {
        let file = folder.join("x.gz");
        save(umask, "x.gz");
        chown(&file, Some(owner), None).expect("its owner");
        fs::set_permissions(&file, fs::Permissions::from_mode(earlier)).expect("permissions");
        save(umask, "x.gz");
        let metadata = fs::metadata(&file).expect("it is there");
        assert_eq!(metadata.uid(), me.as_raw());
        metadata.mode() & 0o777
    };
    // A file of the same user keeps its permissions.
    for (earlier, umask) in [(0o666, "022"), (0o640, "077"), (0o600, "022")] {
        assert_eq!(replaced(me.as_raw(), earlier, umask), earlier, "{earlier:o}");
    }
    if me.is_root() {
        for (earlier, umask, left) in
            [(0o666, "022", 0o644), (0o666, "077", 0o600), (0o777, "027", 0o640), (0o640, "022", 0o640), (0o600, "022", 0o600)]
        {
            assert_eq!(replaced(NOBODY, earlier, umask), left, "{earlier:o}, {umask}");
        }
    }
}

/// The permissions of the state file's group are not given to any other group. Without
/// root, the test has no other group.
#[test]
fn group_permissions_apply_only_to_that_group() {
    const GROUP: u32 = 5_000;
    let folder = folder();
    let folder = folder.path();
    let is_root = nix::unistd::geteuid().is_root();
    let of = |name: &str| {
        let metadata = fs::metadata(folder.join(name)).expect("it is there");
        (metadata.gid(), metadata.mode() & 0o777)
    };
    let set = |name: &str, owner: Option<u32>, mode: u32| {
        if is_root {
            chown(folder.join(name), owner, Some(GROUP)).expect("its group");
        }
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).expect("permissions");
    };
    set("state.json", None, 0o640);
    let expected = of("state.json");
    assert!(!is_root || expected == (GROUP, 0o640), "{expected:?}");
    ok_in(folder, &["snapshot", "state.json", "saved/x.gz"]);
    ok_in(folder, &["copy", "saved/x.gz", "copied.gz"]);
    ok_in(folder, &["copy", "--recursive", "saved", "again"]);
    ok_in(folder, &["restore", "saved/x.gz", "-o", "restored.json"]);
    ok_in(folder, &["salvage", "saved/x.gz", "-o", "salvaged.json"]);
    // Without a source file, the replaced file decides.
    let mut save = persist();
    save.current_dir(folder).args(["snapshot", "-", "copied.gz"]);
    assert!(pipe(save, STATE).status.success());
    for name in ["saved/x.gz", "copied.gz", "again/x.gz", "restored.json", "salvaged.json"] {
        assert_eq!(of(name), expected, "{name}");
    }
    if !is_root {
        return;
    }
    // A user outside the group cannot set it. This uses a copy of the command, since the
    // user `nobody` may have no access to the build folder.
    fs::copy(command_path(), folder.join("persist")).expect("a copy");
    fs::set_permissions(folder.join("persist"), fs::Permissions::from_mode(0o755)).expect("permissions");
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("permissions");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(folder.join("persist"));
        command.current_dir(folder).args(arguments).uid(NOBODY).gid(NOBODY);
        let done = persist_test_support::command::Done::from(pipe(command, STATE));
        assert_eq!(done.code, 0, "{arguments:?}: {done:?}");
    };
    for (mode, left) in [(0o640, 0o600), (0o664, 0o644)] {
        set("state.json", Some(NOBODY), mode);
        run(&["snapshot", "state.json", "theirs.gz"]);
        assert_eq!(of("theirs.gz"), (NOBODY, left), "{mode:o}");
        set("theirs.gz", Some(NOBODY), mode);
        let (copied, restored) = (format!("copied-{mode:o}.gz"), format!("restored-{mode:o}.json"));
        run(&["copy", "theirs.gz", &copied]);
        run(&["restore", "theirs.gz", "-o", &restored]);
        run(&["snapshot", "-", "theirs.gz"]);
        for name in [copied.as_str(), &restored, "theirs.gz"] {
            assert_eq!(of(name), (NOBODY, left), "{name}, {mode:o}");
        }
    }
}

#[test]
fn a_snapshot_that_could_not_be_listed_is_refused() {
    let folder = folder();
    let folder = folder.path();
    let long = format!("{}/x.gz", [&*"n".repeat(200); 6].join("/"));
    assert_eq!(long.len(), 1_210);
    let absolute = folder.join(&long).display().to_string();
    for path in [long.as_str(), &absolute, "odd\u{7}.gz", "odd\nfolder/x.gz", ".persist-1.tmp/x.gz"] {
        let done = run_in(folder, &["snapshot", "state.json", path]);
        assert!(done.code == 2 && done.stderr.contains("could not be listed"), "{path}: {done:?}");
        let error = json(&run_in(folder, &["snapshot", "state.json", path, "--json"]).stderr);
        assert_eq!(error["code"], "invalid-key", "{error}");
        assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("change to its folder first")), "{error}");
    }
    assert_eq!(files(folder), ["state.json"], "nothing is created");
    ok_in(folder, &["snapshot", "state.json", "x.gz"]);
    for path in [&long, "odd\u{7}.gz"] {
        let done = run_in(folder, &["copy", "x.gz", path]);
        assert!(done.code == 2 && done.stderr.contains("could not be listed"), "{path}: {done:?}");
    }
    // An existing one can be read and deleted.
    fs::create_dir(folder.join("odd\nfolder")).expect("a folder");
    fs::copy(folder.join("x.gz"), folder.join("odd\nfolder/x.gz")).expect("a copy");
    assert_eq!(ok_in(folder, &["restore", "odd\nfolder/x.gz"]).as_bytes(), STATE);
    ok_in(folder, &["delete", "odd\nfolder/x.gz", "--yes"]);
}

#[test]
fn a_name_that_is_not_a_key_is_reported_by_list_and_copy() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "state.json", "s/a.gz"]);
    ok_in(folder, &["snapshot", "state.json", "s/z.gz"]);
    for name in [&b"no text \xff"[..], b"odd\x07"] {
        fs::copy(folder.join("s/a.gz"), folder.join("s").join(OsStr::from_bytes(name))).expect("a copy");
    }
    for arguments in [&["list", "s"][..], &["copy", "--recursive", "s", "copied"]] {
        let done = run_in(folder, arguments);
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.stdout.contains("a.gz") && done.stdout.contains("z.gz"), "{done:?}");
        assert!(done.stderr.contains("no text \\xff") && done.stderr.contains("it is not UTF-8"), "{done:?}");
        assert!(done.stderr.contains("odd\\u{7}") && done.stderr.contains("it contains control characters"), "{done:?}");
    }
    assert_eq!(files(&folder.join("copied")), ["a.gz", "z.gz"]);
}

/// Root may follow its own links, but not a link that another user has planted.
#[test]
fn the_target_of_another_users_link_is_not_replaced() {
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("victim"), "precious").expect("a file");
    ok_in(folder, &["snapshot", "state.json", "x.gz"]);
    let shared = folder.join("shared");
    fs::create_dir(&shared).expect("a folder");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).expect("permissions");
    symlink("../victim", shared.join("link")).expect("a link");
    let is_root = nix::unistd::geteuid().is_root();
    if is_root {
        lchown(shared.join("link"), Some(NOBODY), Some(NOBODY)).expect("its owner");
    }
    for arguments in [
        &["snapshot", "state.json", "shared/link"][..],
        &["copy", "x.gz", "shared/link"],
        &["restore", "x.gz", "-o", "shared/link"],
        &["salvage", "x.gz", "-o", "shared/link"],
    ] {
        let done = run_in(folder, arguments);
        if is_root {
            assert!(done.code == 6 && done.stderr.contains("the link belongs to another user"), "{arguments:?}: {done:?}");
            assert_eq!(fs::read(folder.join("victim")).expect("the file"), b"precious");
        } else {
            assert_eq!(done.code, 0, "the user's own: {arguments:?}: {done:?}");
        }
        assert!(shared.join("link").is_symlink(), "{arguments:?}");
    }
}

/// The same applies to a link that leads to the folder of a file.
#[test]
fn a_folder_that_another_user_links_to_is_not_written_to() {
    let folder = folder();
    let folder = folder.path();
    fs::create_dir(folder.join("victim")).expect("a folder");
    ok_in(folder, &["snapshot", "state.json", "source/x.gz"]);
    fs::create_dir(folder.join("shared")).expect("a folder");
    fs::set_permissions(folder.join("shared"), fs::Permissions::from_mode(0o1777)).expect("permissions");
    symlink("../victim", folder.join("shared/out")).expect("a link");
    // A chain whose first link belongs to the user.
    symlink("shared/out", folder.join("first")).expect("a link");
    let is_root = nix::unistd::geteuid().is_root();
    if is_root {
        lchown(folder.join("shared/out"), Some(NOBODY), Some(NOBODY)).expect("its owner");
    }
    for arguments in [
        &["copy", "--recursive", "source", "shared/out"][..],
        &["copy", "--recursive", "source", "shared/out/"],
        &["copy", "--recursive", "source", "shared/out/."],
        &["copy", "--recursive", "source", "shared/out/below"],
        &["copy", "--recursive", "source", "first"],
        &["copy", "source/x.gz", "shared/out"],
        &["copy", "source/x.gz", "shared/out/"],
        &["copy", "source/x.gz", "first/c.gz"],
        &["snapshot", "state.json", "shared/out/a.gz"],
        &["restore", "source/x.gz", "-o", "shared/out/f"],
        &["salvage", "source/x.gz", "-o", "shared/out/s"],
        // The link decides which folder these lead to.
        &["snapshot", "state.json", "shared/out/../victim/a.gz"],
        &["copy", "source/x.gz", "shared/out/../victim/c.gz"],
        &["restore", "source/x.gz", "-o", "first/../victim/r"],
    ] {
        let done = run_in(folder, arguments);
        if is_root {
            assert!(done.code == 6 && done.stderr.contains("the link belongs to another user"), "{arguments:?}: {done:?}");
            assert_eq!(files(&folder.join("victim")), Vec::<String>::new(), "{arguments:?}");
        } else {
            assert_eq!(done.code, 0, "the user's own: {arguments:?}: {done:?}");
        }
    }
    // The user's own link is followed.
    lchown(folder.join("shared/out"), Some(nix::unistd::geteuid().as_raw()), None).expect("its owner");
    ok_in(folder, &["copy", "--recursive", "source", "shared/out"]);
    ok_in(folder, &["snapshot", "state.json", "first/own.gz"]);
    let written = files(&folder.join("victim"));
    assert!(written.iter().any(|name| name == "x.gz") && written.iter().any(|name| name == "own.gz"), "{written:?}");
}

#[test]
fn a_state_is_restored_only_to_local_files() {
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "state.json", "x.gz"]);
    let target = format!("file://{}", folder.join("out.json").display());
    ok_in(folder, &["restore", "x.gz", "-o", &target]);
    assert_eq!(fs::read(folder.join("out.json")).expect("the state"), STATE);
    // A regular file below /dev is treated as a file.
    if Path::new("/dev/shm").is_dir() {
        let folder_in_memory = tempfile::tempdir_in("/dev/shm").expect("a folder");
        let target = folder_in_memory.path().join("out.json");
        ok_in(folder, &["restore", "x.gz", "-o", target.to_str().expect("a path")]);
        assert_eq!(fs::read(target).expect("the state"), STATE);
    }
    let before = files(folder);
    for target in ["s3://bucket/out.json", "memory://out", "ftp://host/out"] {
        assert_eq!(run_in(folder, &["restore", "x.gz", "-o", target]).code, 2, "{target}");
    }
    // A state is not replaced by its own snapshot, and '-' is not a file name.
    assert_eq!(run_in(folder, &["snapshot", "state.json", "./state.json"]).code, 2);
    assert_eq!(run_in(folder, &["snapshot", "state.json", "-"]).code, 2);
    assert_eq!(files(folder), before);
}

#[test]
fn a_failed_restore_keeps_the_existing_file() {
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("large.json"), chat_bytes(5_000_000)).expect("a state");
    ok_in(folder, &["snapshot", "large.json", "x.gz"]);
    let mut bytes = fs::read(folder.join("x.gz")).expect("the snapshot");
    let late = bytes.len() * 3 / 4;
    bytes[late] ^= 0x10;
    fs::write(folder.join("x.gz"), bytes).expect("the damage");
    fs::write(folder.join("out.json"), b"precious").expect("a file");
    let before = files(folder);
    let done = run_in(folder, &["restore", "x.gz", "-o", "out.json"]);
    assert_eq!(done.code, 5, "{done:?}");
    assert_eq!(fs::read(folder.join("out.json")).expect("the file"), b"precious");
    assert_eq!(files(folder), before);
}

#[test]
fn verify_continues_after_an_error() {
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "state.json", "a.gz"]);
    ok_in(folder, &["snapshot", "state.json", "b.gz"]);
    let done = run_in(folder, &["verify", "a.gz", "missing", "state.json", "b.gz"]);
    // The worst exit code.
    assert_eq!(done.code, 5);
    assert_eq!(done.stdout.lines().filter(|line| line.contains(": ok, ")).count(), 2, "{done:?}");
    assert_eq!(done.stderr.lines().count(), 3, "{done:?}");
    assert!(done.stderr.ends_with("2 verified (104 B), 2 failed\n"), "{done:?}");
}

#[test]
fn a_listing_is_sorted_and_recursive() {
    let folder = folder();
    let folder = folder.path();
    for (index, key) in ["b/2.gz", "a-b.gz", "a/1.gz", "a/x/9.json.zst", "b/10.gz"].iter().enumerate() {
        let target = format!("agents/{key}");
        ok_in(
            folder,
            &[
                "snapshot",
                "state.json",
                &target,
                "--agent-id",
                "エージェント",
                "--index",
                &index.to_string(),
                "--timestamp",
                "2026-01-31T12:00:00Z",
            ],
        );
    }
    fs::write(folder.join("agents/notes.txt"), "not a snapshot").expect("a file");
    let listed = ok_in(folder, &["list", "agents"]);
    let expected = "\
KEY             AGENT         SESSION          INDEX  TIME                  SIZE  RATIO
a-b.gz          エージェント  default_session      1  2026-01-31T12:00:00Z  52 B   0.1x
a/1.gz          エージェント  default_session      2  2026-01-31T12:00:00Z  52 B   0.1x
a/x/9.json.zst  エージェント  default_session      3  2026-01-31T12:00:00Z  52 B   0.1x
b/2.gz          エージェント  default_session      0  2026-01-31T12:00:00Z  52 B   0.1x
b/10.gz         エージェント  default_session      4  2026-01-31T12:00:00Z  52 B   0.1x
";
    // The ratio of a tiny state is not fixed by the format.
    let digits = |text: &str| {
        text.lines().map(|line| line.rsplit_once(' ').map_or(line, |(start, _)| start).trim_end().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(digits(&listed), digits(expected), "{listed}");
    let done = run_in(folder, &["list", "agents"]);
    assert_eq!(done.stderr, "1 other file is not a snapshot; 'persist show' says why\n");

    let done = run_in(folder, &["list", "agents", "--json"]);
    let keys: Vec<_> = done.stdout.lines().map(|line| json(line)["key"].clone()).collect();
    assert_eq!(keys, ["a-b.gz", "a/1.gz", "a/x/9.json.zst", "b/2.gz", "b/10.gz"]);
    assert_eq!(done.stderr, "");
    let first = json(done.stdout.lines().next().expect("a line"));
    let mut shown = json(&ok_in(folder, &["show", "agents/a-b.gz", "--json"]));
    shown["key"] = "a-b.gz".into();
    assert_eq!(first, shown);

    let mut damaged = fs::read(folder.join("agents/a/1.gz")).expect("a snapshot");
    let end = damaged.len() - 100;
    damaged[end] ^= 1;
    fs::write(folder.join("agents/a/1.gz"), damaged).expect("the damage");
    let done = run_in(folder, &["list", "agents"]);
    assert_eq!(done.code, 5);
    assert!(done.stderr.contains("agents/a/1.gz") && done.stdout.contains("b/10.gz"), "{done:?}");
}

#[test]
fn a_listing_of_nothing_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let done = run_in(folder.path(), &["list", "."]);
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, "", "no snapshots in .\n"));
    let done = run_in(folder.path(), &["list", "missing"]);
    assert_eq!(done.code, 3);
    fs::write(folder.path().join("file"), "").expect("a file");
    let done = run_in(folder.path(), &["list", "file"]);
    assert_eq!(done.code, 0);
    assert!(done.stderr.ends_with("1 other file is not a snapshot; 'persist show' says why\n"), "{done:?}");
}

#[test]
fn nothing_is_deleted_without_a_yes() {
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "state.json", "x.gz"]);
    let done = run_in(folder, &["delete", "x.gz"]);
    assert_eq!(done.code, 2);
    assert!(done.stderr.contains("--yes"), "{done:?}");
    assert!(folder.join("x.gz").exists());
    let done = run_in(folder, &["delete", "missing", "x.gz", "--yes"]);
    assert_eq!(done.code, 3);
    assert!(!folder.join("x.gz").exists());
    assert_eq!(run_in(folder, &["delete", ".", "--yes"]).code, 2);
}

#[test]
fn symlinks_are_followed_as_in_a_shell() {
    let folder = folder();
    let folder = folder.path();
    fs::create_dir(folder.join("elsewhere")).expect("a folder");
    symlink("elsewhere", folder.join("linked")).expect("a link");
    ok_in(folder, &["snapshot", "state.json", "linked/x.gz"]);
    symlink("elsewhere/x.gz", folder.join("latest.gz")).expect("a link");
    assert_eq!(ok_in(folder, &["restore", "latest.gz"]).as_bytes(), STATE);
    // Writing through the link keeps it.
    fs::write(folder.join("state.json"), b"{}").expect("another state");
    ok_in(folder, &["snapshot", "state.json", "latest.gz"]);
    assert!(folder.join("latest.gz").is_symlink());
    assert_eq!(ok_in(folder, &["restore", "elsewhere/x.gz"]), "{}");
    // Deleting removes the link and keeps its target.
    ok_in(folder, &["delete", "latest.gz", "--yes"]);
    assert!(!folder.join("latest.gz").is_symlink() && folder.join("elsewhere/x.gz").exists());
}

#[test]
fn keys_are_confined_to_the_base_path() {
    let outer = folder();
    let base = outer.path().join("base");
    fs::create_dir(&base).expect("a folder");
    let run = |arguments: &[&str]| -> persist_test_support::command::Done {
        persist().current_dir(outer.path()).env("PERSIST_LOCAL_PATH", &base).args(arguments).output().expect("persist starts").into()
    };
    assert_eq!(run(&["snapshot", "state.json", "s/x.gz"]).code, 0);
    assert!(base.join("s/x.gz").exists());
    assert!(run(&["list", "s"]).stdout.contains("s/x.gz"));
    let absolute = outer.path().join("y.gz").display().to_string();
    for key in ["../y.gz", "s/../../y.gz", &absolute, "s//y.gz"] {
        let done = run(&["snapshot", "state.json", key]);
        assert_eq!(done.code, 2, "{key}: {done:?}");
        assert!(done.stderr.contains("PERSIST_LOCAL_PATH"), "{done:?}");
    }
    // An absolute path has to be below the base path, too.
    let inside = base.join("s/x.gz");
    assert_eq!(run(&["show", &format!("file://{}", inside.display())]).code, 0);
    assert_eq!(run(&["list", &format!("file://{}", base.join("s").display())]).stdout.lines().count(), 2);
    for arguments in
        [&["snapshot", "state.json", &format!("file://{absolute}")][..], &["list", &format!("file://{}", outer.path().display())]]
    {
        let done = run(arguments);
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.stderr.contains("not below PERSIST_LOCAL_PATH"), "{done:?}");
    }
    // As without a base path, a missing folder is not an empty one.
    assert_eq!(run(&["list", "missing"]).code, 3);
    assert_eq!(run(&["list", "s/x.gz"]).stdout.lines().count(), 2);
    assert_eq!(run(&["copy", "--recursive", "s", "copied"]).code, 0);
    assert!(base.join("copied/x.gz").exists());
    // A link must not lead out, either.
    fs::create_dir(outer.path().join("outside")).expect("a folder");
    symlink(outer.path().join("outside"), base.join("way-out")).expect("a link");
    let done = run(&["snapshot", "state.json", "way-out/y.gz"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert_eq!(files(&outer.path().join("outside")), Vec::<String>::new());
}

#[test]
fn the_environment_chooses_the_storage() {
    let folder = folder();
    let run = |variable: &str, value: &str| -> persist_test_support::command::Done {
        persist()
            .current_dir(folder.path())
            .env(variable, value)
            .args(["snapshot", "state.json", "x.gz"])
            .output()
            .expect("persist starts")
            .into()
    };
    let done = run("PERSIST_STORAGE", "memory");
    assert!(done.code == 0 && done.stderr.contains("nothing is kept"), "{done:?}");
    assert_eq!(files(folder.path()), ["state.json"]);
    let done = run("PERSIST_STORAGE", "tape");
    assert_eq!(done.code, 2);
    assert!(done.stderr.contains("PERSIST_STORAGE") && done.stderr.contains("local, s3 or memory"), "{done:?}");
    let done = run("PERSIST_STORAGE", "s3");
    assert_eq!(done.code, 2);
    assert!(done.stderr.contains("PERSIST_S3_BUCKET"), "{done:?}");
    assert_eq!(run("PERSIST_STORAGE", "").code, 0);
    assert_eq!(files(folder.path()), ["state.json", "x.gz"]);
    // An option overrides an invalid environment variable.
    let with = |variable: &str, value: &str, option: &str| -> persist_test_support::command::Done {
        let mut command = persist();
        command.current_dir(folder.path()).env(variable, value).args(["exists", "x.gz", option]);
        command.output().expect("persist starts").into()
    };
    assert_eq!(with("PERSIST_STORAGE", "tape", "--storage=local").code, 0);
    assert_eq!(with("PERSIST_S3_BUCKET", "?", "--s3-bucket=agents").code, 0);
    assert_eq!(with("PERSIST_S3_MAX_ATTEMPTS", "many", "--s3-max-attempts=3").code, 0);
    assert_eq!(with("PERSIST_S3_MAX_ATTEMPTS", "many", "--s3-parallel=3").code, 2);
}

#[test]
fn the_engine_is_configured_by_options_and_environment() {
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("large.json"), chat_bytes(3_000_000)).unwrap();
    let with = |variable: &str, value: &str, arguments: &[&str]| -> persist_test_support::command::Done {
        persist().current_dir(folder).env(variable, value).args(arguments).output().expect("persist starts").into()
    };
    let save = ["snapshot", "large.json", "x.json.zst"];
    for (option, variable, right, wrong, expected) in [
        ("--workers", "PERSIST_WORKERS", "3", &["0", "65", "-1", "many"][..], "a number from 1 to 64"),
        ("--memory-limit", "PERSIST_MEMORY_LIMIT", "64M", &["0", "-1", "lots"], "a size, such as 128M"),
        ("--total-memory-limit", "PERSIST_TOTAL_MEMORY_LIMIT", "200000000", &["0", "-1", "lots"], "a size, such as 4G"),
        ("--deadline", "PERSIST_DEADLINE", "2.5s", &["0", "-1", "nan", "soon"], "a time, such as 30s"),
    ] {
        assert_eq!(with(variable, right, &save).code, 0);
        assert_eq!(with(variable, "", &save).code, 0);
        assert_eq!(run_in(folder, &[&save[..], &[&format!("{option}={right}")]].concat()).code, 0);
        for value in wrong {
            let done = with(variable, value, &["show", "x.json.zst"]);
            assert!(done.code == 2 && done.stderr.contains(variable) && done.stderr.contains(expected), "{done:?}");
            let done = run_in(folder, &["show", "x.json.zst", &format!("{option}={value}")]);
            assert!(done.code == 2 && done.stderr.contains(option) && done.stderr.contains(expected), "{done:?}");
        }
        // An option overrides the environment.
        assert_eq!(with(variable, wrong[0], &["show", "x.json.zst", &format!("{option}={right}")]).code, 0);
    }
    let done = with("PERSIST_MEMORY_LIMIT", "2000000", &save);
    assert!(done.code == 9 && done.stderr.contains("PERSIST_MEMORY_LIMIT"), "{done:?}");
    let done = with("PERSIST_MEMORY_LIMIT", "2000000", &[&save[..], &["--memory-limit", "64000000"]].concat());
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(run_in(folder, &["verify", "x.json.zst"]).code, 0);
}

/// With little address space, the workers may get no instance while the operation has
/// one, which then does all the work.
#[cfg(target_os = "linux")]
#[test]
fn little_address_space_is_enough_for_one_instance() {
    let folder = folder();
    fs::write(folder.path().join("large.json"), chat_bytes(5_000_000)).unwrap();
    let mut shell = Command::new("sh");
    let saves = "ulimit -v 7000000 && exec \"$0\" snapshot large.json x.json.zst --workers 3";
    shell.current_dir(folder.path()).args(["-c", saves]).arg(command_path());
    let done = persist_test_support::command::Done::from(shell.output().expect("a shell"));
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(run_in(folder.path(), &["verify", "x.json.zst"]).code, 0);
}

/// Root may read everything, so a test that runs as root runs the command as
/// `nobody`.
#[test]
fn files_without_permission_have_distinct_errors() {
    let folder = folder();
    ok_in(folder.path(), &["snapshot", "state.json", "x.gz"]);
    // A copy, since the user `nobody` may have no access to the build folder.
    let copy = folder.path().join("persist");
    fs::copy(command_path(), &copy).expect("a copy");
    for (name, mode) in [("x.gz", 0o000), ("state.json", 0o000), ("persist", 0o755), ("", 0o555)] {
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(mode)).expect("permissions");
    }
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&copy);
        command.current_dir(folder.path()).args(arguments);
        if nix::unistd::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        persist_test_support::command::Done::from(command.output().expect("persist starts"))
    };
    for (arguments, says) in [
        (&["show", "x.gz"][..], "could not open the file"),
        (&["restore", "x.gz"], "could not open the file"),
        (&["list", "."], "could not open the file"),
        (&["snapshot", "state.json", "y.gz"], "access denied to the state file"),
        (&["snapshot", "persist", "y.gz"], "could not create the file"),
        // Whether it is a snapshot cannot be determined.
        (&["delete", "x.gz", "--yes"], "could not open the file"),
        (&["delete", "x.gz", "--yes", "--force"], "could not delete the file"),
    ] {
        let done = run(arguments);
        assert_eq!(done.code, 6, "{arguments:?}: {done:?}");
        assert!(done.stderr.contains("access denied") && done.stderr.contains(says), "{arguments:?}: {done:?}");
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
}

#[test]
fn an_unreadable_state_is_named_in_the_error() {
    let folder = folder();
    for (state, exit_code, says) in [("missing.json", 3, "there is no such state file"), (".", 2, "the state is a folder")] {
        let done = run_in(folder.path(), &["snapshot", state, "x.gz"]);
        assert_eq!(done.code, exit_code, "{done:?}");
        assert!(done.stderr.contains(says), "{done:?}");
    }
    assert_eq!(files(folder.path()), ["state.json"]);
    let done = run_in(folder.path(), &["snapshot", "state.json", "", "--index", "1"]);
    assert_eq!(done.code, 2, "{done:?}");
    let done = run_in(folder.path(), &["snapshot", "state.json", "state.json/x.gz"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.stderr.contains("a parent of the path is a file, not a folder"), "{done:?}");
}

#[test]
fn wrong_arguments_are_explained() {
    let folder = folder();
    for arguments in [
        &["snapshot"][..],
        &["snapshot", "state.json", "x", "--codec", "lzma"],
        &["snapshot", "state.json", "x", "--label", "novalue"],
        &["snapshot", "state.json", "x", "--label", "a=1", "--label", "a=2"],
        &["snapshot", "state.json", "x", "--index", "-1"],
        &["snapshot", "state.json", "x", "--index", "9007199254740992"],
        &["snapshot", "state.json", "x", "--timestamp", "yesterday"],
        &["snapshot", "state.json", "x", "--snapshot-id", "17"],
        &["frobnicate"],
        &["verify"],
    ] {
        let done = run_in(folder.path(), arguments);
        assert_eq!((done.code, done.stdout.as_str()), (2, ""), "{arguments:?}: {done:?}");
        assert!(done.stderr.starts_with("error: "), "{arguments:?}: {done:?}");
        let error = json(&run_in(folder.path(), &[arguments, &["--json"]].concat()).stderr);
        assert_eq!(error["code"], "invalid-argument", "{arguments:?}");
    }
    assert_eq!(files(folder.path()), ["state.json"]);
}

#[test]
fn help_and_completions_are_complete() {
    let folder = folder();
    let help = ok_in(folder.path(), &["--help"]);
    // One screen.
    assert!(help.lines().count() <= 24 && help.lines().all(|line| line.len() <= 80), "{help}");
    assert_eq!(help, ok_in(folder.path(), &["-h"]));
    let commands = ["snapshot", "restore", "show", "verify", "exists", "delete", "list", "sessions", "copy", "salvage", "doctor"];
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
        let help = ok_in(folder.path(), &[command, "--help"]);
        assert!(help.contains("Usage: persist ") && help.contains("Example") && !help.contains("--s3-"), "{help}");
        let all = ok_in(folder.path(), &[command, "--help-all"]);
        assert!(all.contains("--s3-bucket") && all.contains("Exit codes:") && all.contains("Engine options"), "{all}");
    }
    assert!(ok_in(folder.path(), &["--help-all"]).contains("PERSIST_LOCAL_PATH"));
    for command in ["completions", "man"] {
        assert!(ok_in(folder.path(), &[command, "--help"]).contains("Example"), "{command}");
    }
    assert!(ok_in(folder.path(), &["--version"]).starts_with("persist "));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = ok_in(folder.path(), &["completions", shell]);
        assert!(script.contains("persist") && script.contains("s3-bucket"), "{shell}");
    }
}

#[test]
fn logs_say_what_was_done_but_never_the_state() {
    let folder = folder();
    let secret = r#"{"password": "correct horse battery staple"}"#;
    fs::write(folder.path().join("state.json"), secret).expect("a state");
    for filter in ["persist_host=debug", "persist_core=debug", "trace"] {
        let logged = |arguments: &[&str]| {
            let output = persist().current_dir(folder.path()).env("RUST_LOG", filter).args(arguments).output().expect("persist starts");
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        for (operation, arguments) in [
            ("snapshot", &["snapshot", "state.json", "x.gz"][..]),
            ("restore", &["restore", "x.gz", "-o", "out"]),
            ("verify", &["verify", "x.gz"]),
            ("metadata", &["show", "x.gz"]),
        ] {
            let log = logged(arguments);
            for part in [operation, "x.gz", "state_bytes=44", "stored_bytes=", "ms="] {
                assert!(log.contains(part), "{part} in {filter}, {operation}: {log}");
            }
            for word in ["password", "correct horse", "staple"] {
                assert!(!log.contains(word), "{word} in {log}");
            }
        }
    }
    assert_eq!(run_in(folder.path(), &["show", "x.gz"]).stderr, "");
}

#[test]
fn a_reader_that_stops_early_is_not_an_error() {
    let folder = folder();
    fs::write(folder.path().join("large.json"), chat_bytes(20_000_000)).expect("a state");
    ok_in(folder.path(), &["snapshot", "large.json", "x.zst"]);
    let mut command = persist();
    command.current_dir(folder.path()).args(["restore", "x.zst"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("persist starts");
    let mut first = [0; 100];
    child.stdout.take().expect("stdout is piped").read_exact(&mut first).expect("the beginning");
    let output = child.wait_with_output().expect("persist ends");
    assert_eq!(output.stderr, b"");
    assert_eq!(output.status.code(), Some(141));
}

#[test]
fn a_snapshots_metadata_cannot_control_the_terminal() {
    let folder = folder();
    let folder = folder.path();
    let evil = "\u{1b}[31mred\u{202e}\u{7}";
    ok_in(folder, &["snapshot", "state.json", "x.gz", "--agent-id", evil, "--description", "two\nlines", "--label", &format!("{evil}=1")]);
    for arguments in [&["show", "x.gz"][..], &["list", "."]] {
        let shown = ok_in(folder, arguments);
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{shown:?}");
        assert!(shown.contains("\\u{1b}[31mred\\u{202e}"), "{shown}");
    }
    assert!(ok_in(folder, &["show", "x.gz"]).contains("two\\u{a}lines"));
    assert_eq!(json(&ok_in(folder, &["show", "x.gz", "--json"]))["agent_id"], evil);
}

#[test]
fn zeros_take_no_space_in_a_restored_file() {
    let folder = folder();
    let folder = folder.path();
    // Zeros before, between and after other bytes, not aligned to blocks.
    let mut state = vec![0; 8 << 20];
    state[3_000_001..3_000_100].fill(b'x');
    state[5 << 20] = b'y';
    fs::write(folder.join("state.bin"), &state).expect("a state");
    ok_in(folder, &["snapshot", "state.bin", "x.zst"]);
    ok_in(folder, &["restore", "x.zst", "-o", "restored.bin"]);
    assert!(fs::read(folder.join("restored.bin")).expect("the state") == state);
    let taken = fs::metadata(folder.join("restored.bin")).expect("a file").blocks() * 512;
    assert!(taken < 1 << 20, "{taken} bytes of {}", state.len());
    // Only zeros, including fewer than a hole has.
    for size in [0, 1, 65_535, 65_536, 65_537, 3 << 20] {
        fs::write(folder.join("zeros.bin"), vec![0; size]).expect("a state");
        ok_in(folder, &["snapshot", "zeros.bin", "z.gz"]);
        ok_in(folder, &["restore", "z.gz", "-o", "restored.bin"]);
        assert!(fs::read(folder.join("restored.bin")).expect("the state") == vec![0; size], "{size}");
    }
}

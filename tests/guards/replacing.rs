//! What a restore, a salvage or a save does not replace.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::Stdio;

use persist_test_support::command::{Done, chat_bytes, files, ok_in, persist, pipe, read, run_in};

use crate::helpers::{STATE, folder, shell};

#[test]
fn a_state_never_overwrites_its_own_snapshot() {
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "state.json", "x.gz"]);
    symlink("x.gz", folder.join("link")).expect("a link");
    fs::hard_link(folder.join("x.gz"), folder.join("hard.gz")).expect("a link");
    symlink(".", folder.join("here")).expect("a link");
    let whole = read(folder, "x.gz");
    let cut = whole[..whole.len() - 1].to_vec();
    let absolute = folder.join("x.gz").display().to_string();
    let url = format!("file://{absolute}");
    for (command, bytes) in [("restore", &whole), ("salvage", &cut)] {
        fs::write(folder.join("x.gz"), bytes).expect("a snapshot");
        let before = files(folder);
        for (source, output) in [
            ("x.gz", "x.gz"),
            ("x.gz", "./x.gz"),
            ("x.gz", "here/x.gz"),
            ("x.gz", absolute.as_str()),
            ("x.gz", url.as_str()),
            ("x.gz", "link"),
            ("link", "x.gz"),
            ("x.gz", "hard.gz"),
            ("hard.gz", "x.gz"),
        ] {
            let done = run_in(folder, &[command, source, "-o", output]);
            assert_eq!(done.code, 2, "{command} {source} -o {output}: {done:?}");
            assert!(done.stderr.contains("the snapshot itself") && done.stderr.contains("give another file"), "{done:?}");
            assert_eq!(&read(folder, "x.gz"), bytes, "{command} {source} -o {output}");
            assert_eq!(files(folder), before);
        }
        // The shell's >> does not do it, either.
        let stdout = File::options().append(true).open(folder.join("x.gz")).expect("the snapshot");
        let done: Done = {
            let mut command_ = persist();
            command_.current_dir(folder).args([command, "x.gz", "-o", "-"]).stdout(stdout);
            command_.output().expect("persist starts").into()
        };
        assert_eq!(done.code, 2, "{done:?}");
        assert_eq!(&read(folder, "x.gz"), bytes);
    }
}

#[test]
fn restore_and_salvage_respect_if_exists() {
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "state.json", "x.gz"]);
    for command in ["restore", "salvage"] {
        fs::write(folder.join("out"), "precious").expect("a file");
        symlink("nowhere", folder.join("dangling")).expect("a link");
        let done = run_in(folder, &[command, "x.gz", "-o", "out", "--if-exists", "fail"]);
        assert_eq!(done.code, 4, "{command}: {done:?}");
        assert_eq!(read(folder, "out"), b"precious");
        ok_in(folder, &[command, "x.gz", "-o", "new", "--if-exists", "fail"]);
        assert_eq!(read(folder, "new"), STATE);
        ok_in(folder, &[command, "x.gz", "-o", "out", "--if-exists", "replace"]);
        assert_eq!(read(folder, "out"), STATE);
        for name in ["new", "dangling"] {
            fs::remove_file(folder.join(name)).expect("it is there");
        }
    }
    assert_eq!(files(folder), ["out", "state.json", "x.gz"]);
    // A file that is created during the restore is kept, too: of several racers, one
    // wins.
    fs::write(folder.join("large.json"), chat_bytes(4_000_000)).expect("a state");
    ok_in(folder, &["snapshot", "large.json", "large.zst"]);
    for round in 0..5 {
        let name = format!("raced-{round}");
        let start = |_| {
            let mut command = persist();
            command.current_dir(folder).args(["restore", "large.zst", "-q", "-o", &name, "--if-exists", "fail"]);
            command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("persist starts")
        };
        let racers: Vec<_> = (0..4).map(start).collect();
        let mut codes: Vec<_> = racers.into_iter().map(|mut racer| racer.wait().expect("it ends").code()).collect();
        codes.sort_unstable();
        assert_eq!(codes, [Some(0), Some(4), Some(4), Some(4)]);
        assert!(read(folder, &name) == read(folder, "large.json"));
    }
}

#[test]
fn an_empty_pipe_replaces_nothing() {
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "state.json", "good.gz"]);
    fs::write(folder.join("nothing"), "").expect("a file");
    let good = read(folder, "good.gz");
    let shell = |script: &str| shell(folder, script);
    for (link, target) in [("in", "/dev/stdin"), ("also-in", "in")] {
        std::os::unix::fs::symlink(target, folder.join(link)).expect("a link");
    }
    let before = files(folder);
    for (script, says) in [
        ("false | \"$0\" snapshot - good.gz", "may have failed"),
        ("false | \"$0\" snapshot - new/x.gz", "may have failed"),
        ("\"$0\" snapshot - good.gz <&-", "stdin is closed"),
        ("\"$0\" snapshot - new/x.gz < /dev/null", "/dev/null"),
        ("\"$0\" snapshot <(false) good.gz", "may have failed"),
        ("\"$0\" snapshot /dev/null good.gz", "the state is empty"),
        // A descriptor stands for the contents of the file, not for its name.
        ("\"$0\" snapshot - good.gz < nothing", "may have failed"),
        ("\"$0\" snapshot /dev/stdin good.gz < nothing", "may have failed"),
        ("\"$0\" snapshot /dev/fd/3 good.gz 3< nothing", "may have failed"),
        ("\"$0\" snapshot /proc/self/fd/3 new/x.gz 3< nothing", "may have failed"),
        ("false | \"$0\" snapshot /dev/stdin good.gz", "may have failed"),
        // By any name.
        ("\"$0\" snapshot in good.gz < nothing", "may have failed"),
        ("\"$0\" snapshot also-in good.gz < nothing", "may have failed"),
        ("F=$PWD; cd /dev && \"$0\" snapshot ./stdin \"$F/good.gz\" < \"$F/nothing\"", "may have failed"),
        ("F=$PWD; cd /dev && \"$0\" snapshot fd/0 \"$F/good.gz\" < \"$F/nothing\"", "may have failed"),
    ] {
        let done = shell(script);
        assert_eq!(done.code, 2, "{script}: {done:?}");
        assert!(done.stderr.contains(says) && done.stderr.contains("--allow-empty"), "{script}: {done:?}");
        assert_eq!(files(folder), before, "{script}");
        assert_eq!(read(folder, "good.gz"), good, "{script}");
    }
    for script in ["\"$0\" snapshot - good.gz < good.gz", "\"$0\" snapshot /dev/stdin good.gz < good.gz"] {
        let done = shell(script);
        assert_eq!(done.code, 2, "{script}: {done:?}");
        assert!(done.stderr.contains("DEST is the state itself"), "{script}: {done:?}");
        assert_eq!(read(folder, "good.gz"), good, "{script}");
    }
    let done = shell("\"$0\" snapshot /dev/fd/3 opened.gz --allow-empty -q 3< nothing");
    assert_eq!(done.code, 0, "{done:?}");
    let saved = pipe(
        {
            let mut command = persist();
            command.current_dir(folder).args(["snapshot", "-", "empty.gz", "--allow-empty", "-q"]);
            command
        },
        b"",
    );
    assert!(saved.status.success(), "{saved:?}");
    // An empty file that is named is saved.
    fs::write(folder.join("empty.json"), "").expect("a file");
    ok_in(folder, &["snapshot", "empty.json", "named.gz"]);
    for name in ["empty.gz", "named.gz", "opened.gz"] {
        assert_eq!(ok_in(folder, &["restore", name]), "");
    }
}

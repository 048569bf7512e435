//! Settings of the storage and the engine, by options and by the environment.

use std::fs;
#[cfg(target_os = "linux")]
use std::process::Command;

#[cfg(target_os = "linux")]
use persist_test_support::command::command_path;
use persist_test_support::command::{chat_bytes, files, persist, run_in};

use crate::helpers::folder;

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

//! The permissions, owners and groups of files, and links of other users.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;

use persist_test_support::command::{command_path, copy_program, files, ok_in, persist, pipe, run_in};

use crate::helpers::{NOBODY, STATE, folder};

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
    copy_program(command_path(), folder, "persist");
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

/// Root may read everything, so a test that runs as root runs the command as
/// `nobody`.
#[test]
fn files_without_permission_have_distinct_errors() {
    let folder = folder();
    ok_in(folder.path(), &["snapshot", "state.json", "x.gz"]);
    // A copy, since the user `nobody` may have no access to the build folder.
    let copy = copy_program(command_path(), folder.path(), "persist");
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

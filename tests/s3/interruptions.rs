//! Transfers that are interrupted, by broken connections and by Ctrl-C.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use persist_test_support::command::{Done, noise};
use persist_test_support::proxy::{Fault, Operation, Proxy, When};
use persist_test_support::server::Server;

use crate::helpers::{at, folder, on};

#[test]
fn a_gibibyte_survives_broken_connections() {
    const COPIES: usize = 64;
    const MAX_RESIDENT: u64 = 256;
    let (server, folder) = (Server::start(), tempfile::tempdir().expect("a folder"));
    let proxy = Proxy::start(server.address);
    // Longer than the window of a codec, so that the snapshot has 1 GiB, too.
    let block = noise(16 << 20);
    for number in [10, 60, 110] {
        proxy.inject(Operation::UploadPart, Fault::ResetRequest, When::Nth(number));
        proxy.inject(Operation::GetObject, Fault::ResetResponse, When::Nth(number));
    }
    let mut command = on(&proxy.endpoint());
    command.args(["snapshot", "-", &at("big.json.zst"), "--level", "-7"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("persist starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let (done, peak) = std::thread::scope(|scope| {
        let block = &block;
        scope.spawn(move || (0..COPIES).for_each(|_| std::io::Write::write_all(&mut stdin, block).expect("persist reads")));
        persist_test_support::command::peak_of(child)
    });
    let hits = proxy.hits();
    println!("saved 1 GiB: {peak} MiB resident, {hits} broken connections");
    assert!(done.code == 0 && peak < MAX_RESIDENT && hits == 3, "{done:?}");
    assert!(fs::metadata(server.file("big.json.zst")).expect("it is there").len() > 1 << 30);
    assert_eq!(server.unfinished_uploads(), Vec::<String>::new());

    let target = folder.path().join("state");
    let mut command = on(&proxy.endpoint());
    command.args(["restore", &at("big.json.zst"), "-o"]).arg(&target).stderr(Stdio::piped());
    let (done, peak) = persist_test_support::command::peak_of(command.spawn().expect("persist starts"));
    let hits = proxy.hits() - hits;
    println!("restored 1 GiB: {peak} MiB resident, {hits} broken connections");
    assert!(done.code == 0 && peak < MAX_RESIDENT && hits == 3, "{done:?}");
    let mut state = fs::File::open(&target).expect("the state");
    let mut found = vec![0; block.len()];
    for number in 0..COPIES {
        std::io::Read::read_exact(&mut state, &mut found).expect("it is long enough");
        assert!(found == block, "the {number}th part");
    }
    assert_eq!(std::io::Read::read(&mut state, &mut [0]).expect("the end"), 0);
}

#[test]
fn ctrl_c_leaves_no_upload_and_no_file() {
    let (server, folder) = (Server::start(), folder());
    let local = folder.path().join("out/x.json.gz").display().to_string();
    // Also if Ctrl-C is ignored, as for background jobs of a shell.
    for (place, ignores_sigint) in [(at("x.json.gz"), false), (local, false), (at("x.json.gz"), true)] {
        // From a pipe that stays open, so that the command would wait forever.
        let mut command = on(&server.endpoint());
        if ignores_sigint {
            let mut shell = Command::new("sh");
            shell.args(["-c", "trap '' INT; exec \"$0\" \"$@\""]).arg(command.get_program());
            for (name, value) in command.get_envs() {
                match value {
                    Some(value) => shell.env(name, value),
                    None => shell.env_remove(name),
                };
            }
            command = shell;
        }
        command.args(["snapshot", "-", &place, "--codec", "zstd", "--level", "-7", "--s3-part-size", "5242880", "--workers", "2"]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("persist starts");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        // One part, plus what two workers may hold.
        std::io::Write::write_all(&mut stdin, &noise(16_000_000)).expect("it reads");
        let is_begun = || match place.starts_with("s3") {
            true => !server.unfinished_uploads().is_empty(),
            false => folder.path().join("out").is_dir(),
        };
        let began = Instant::now();
        while !is_begun() {
            assert!(began.elapsed() < Duration::from_secs(30), "{place}: nothing is written");
            std::thread::sleep(Duration::from_millis(20));
        }
        let id = nix::unistd::Pid::from_raw(child.id() as i32);
        if ignores_sigint {
            nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT).expect("it runs");
            std::thread::sleep(Duration::from_millis(200));
            assert!(child.try_wait().expect("it is asked").is_none(), "it goes on");
        }
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).expect("it runs");
        let done: Done = child.wait_with_output().expect("it ends").into();
        assert_eq!((done.code, done.stderr.contains("cancelled")), (130, true), "{place}: {done:?}");
        assert_eq!(server.unfinished_uploads(), Vec::<String>::new());
        drop(stdin);
    }
    assert_eq!(persist_test_support::command::files(&folder.path().join("out")), Vec::<String>::new());
    assert!(!Path::new(&server.file("x.json.gz")).exists());
}

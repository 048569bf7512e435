//! Processes that append or prune until they are done, stopped or killed: this test itself,
//! run as a child.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use persist_host::ErrorCode;
use persist_host::timeline::OnConflict;

use crate::helpers::{Kind, TIMELINE, append, on, policy};

// The variables that configure a child process.
const ROLE: &str = "PERSIST_TIMELINES_ROLE";
const KIND: &str = "PERSIST_TIMELINES_KIND";
const WHERE: &str = "PERSIST_TIMELINES_WHERE";
const NAME: &str = "PERSIST_TIMELINES_NAME";
const COUNT: &str = "PERSIST_TIMELINES_COUNT";

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Appends, after others if they are faster.
    Rebase,
    /// Appends, and tries again with a new state if another was faster.
    Fail,
    /// Appends, and gives up each state for which another was faster.
    Once,
    Prune,
}

const ROLES: [Role; 4] = [Role::Rebase, Role::Fail, Role::Once, Role::Prune];

/// Not a test by itself: what a child process does.
#[test]
fn child() {
    let variable = |name: &str| std::env::var(name).expect("a variable");
    let Ok(role) = std::env::var(ROLE) else { return };
    let role = ROLES.into_iter().find(|known| format!("{known:?}") == role).expect("a role");
    let kind = if variable(KIND) == "Folder" { Kind::Folder } else { Kind::Bucket };
    let name: u64 = variable(NAME).parse().expect("a number");
    let count: u64 = variable(COUNT).parse().expect("a number");
    let mut timeline = on(kind.storage(&variable(WHERE))).timeline(TIMELINE).expect("a folder");
    println!("\nready");
    for turn in 1..=count {
        if role == Role::Prune {
            timeline.prune(&policy(), false).unwrap_or_else(|error| panic!("prune: {error:?}"));
            println!("pruned");
            continue;
        }
        let on_conflict = if role == Role::Rebase { OnConflict::Rebase } else { OnConflict::Fail };
        let id = name << 32 | turn;
        loop {
            match append(&mut timeline, id, on_conflict) {
                Ok(number) => println!("appended {number} {id}"),
                Err(error) if error.code() == ErrorCode::AlreadyExists && role == Role::Fail => continue,
                Err(error) if role == Role::Once => println!("failed {:?}", error.code()),
                Err(error) => panic!("append: {error:?}"),
            }
            break;
        }
    }
}

/// A process. It is killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

/// So many turns that a process never ends by itself.
pub(crate) const ENDLESS: u64 = 1 << 31;

impl Process {
    /// Starts a process on the storage at a folder or an endpoint. The IDs of its states
    /// begin with its name.
    pub(crate) fn start(kind: Kind, at: &str, role: Role, name: u64, count: u64) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "processes::child", "--nocapture"]);
        command.env(ROLE, format!("{role:?}")).env(KIND, format!("{kind:?}")).env(WHERE, at);
        command.env(NAME, name.to_string()).env(COUNT, count.to_string());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("it starts");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let shared = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            // Only whole lines count: the last one may be cut.
            for line in stdout.split(b'\n').map_while(Result::ok) {
                shared.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
            }
        });
        Self { child, lines, reader: Some(reader) }
    }

    pub(crate) fn has_said(&self, word: &str) -> bool {
        self.lines.lock().unwrap().iter().any(|line| line.starts_with(word))
    }

    /// Waits until the process has said a word.
    pub(crate) fn wait_for(&mut self, word: &str) {
        let began = Instant::now();
        while !self.has_said(word) {
            if self.has_ended() {
                // What it has said may not have been read yet.
                if let Some(reader) = self.reader.take() {
                    reader.join().expect("it reads");
                }
                assert!(self.has_said(word), "the process ended");
            }
            assert!(began.elapsed() < Duration::from_secs(60), "no '{word}' after a minute");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Returns whether the process has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is there").is_some()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("it is there");
    }

    /// Kills the process, and returns the steps that it has appended.
    pub(crate) fn kill(mut self) -> BTreeMap<u64, u64> {
        self.child.kill().expect("it is killed");
        let status = self.child.wait().expect("it ends");
        assert!(status.signal() == Some(Signal::SIGKILL as i32) || status.success(), "{status}");
        self.appended()
    }

    /// Waits for the process to end, and returns the steps that it has appended: the ID of
    /// each state, by number.
    pub(crate) fn end(mut self) -> BTreeMap<u64, u64> {
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}");
        self.appended()
    }

    /// The same for a process that may fail, with the code of the error.
    pub(crate) fn end_or_fail(mut self) -> Result<BTreeMap<u64, u64>, String> {
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}");
        let appended = self.appended();
        let failed = self.lines.lock().unwrap().iter().find_map(|line| line.strip_prefix("failed ").map(str::to_owned));
        failed.map_or(Ok(appended), Err)
    }

    fn appended(&mut self) -> BTreeMap<u64, u64> {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it has read");
        }
        let lines = self.lines.lock().unwrap();
        let steps = lines.iter().filter_map(|line| line.strip_prefix("appended ")?.split_once(' '));
        steps.map(|(number, id)| (number.parse().expect("a number"), id.parse().expect("an ID"))).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts the steps of several processes together. No number may have been given twice.
pub(crate) fn together(all: impl IntoIterator<Item = BTreeMap<u64, u64>>) -> BTreeMap<u64, u64> {
    let mut appended = BTreeMap::new();
    for (number, id) in all.into_iter().flatten() {
        assert_eq!(appended.insert(number, id), None, "step {number} has two winners");
    }
    appended
}

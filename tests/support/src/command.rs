//! Running the command, and sample states.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crate::built::programs;
use crate::workspace::workspace;

/// The sources that the command is built from.
const SOURCES: [&str; 7] = ["cli/src", "components/codegen/src", "guest/src", "host/src", "model/src", "paths/src", "wit"];

/// Returns when a file in a folder was last changed.
fn changed(folder: &Path) -> SystemTime {
    let entries = std::fs::read_dir(folder).expect("the sources are there").flatten();
    let times = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => changed(&entry.path()),
        metadata => metadata.and_then(|metadata| metadata.modified()).expect("a time"),
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Returns the path of the `persist` command of this build. Fails if the command is older
/// than its sources, since building a single test does not build the command.
pub fn command_path() -> &'static Path {
    static COMMAND: LazyLock<PathBuf> = LazyLock::new(|| {
        let command = programs().join("persist");
        let built = command.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let changed = SOURCES.iter().map(|sources| changed(&workspace().join(sources))).max().expect("sources");
        assert!(built >= changed, "{} is older than its sources: cargo build --release --package persist-cli", command.display());
        command
    });
    &COMMAND
}

/// Returns the `persist` command of this build, without settings from the user's
/// environment.
pub fn persist() -> Command {
    let mut command = Command::new(command_path());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PERSIST_")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG");
    // The settings of AWS are removed, too.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        command.env_remove(name);
    }
    for file in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
        command.env(file, "/dev/null");
    }
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    // No index from an earlier test.
    command.env("XDG_CACHE_HOME", "/dev/null");
    command
}

/// Copies a program into a folder, under this name, and returns its path. If another
/// thread starts a child while the copy is being written, that child holds it open for
/// writing until it becomes another program, and the copy can't be started ("Text file
/// busy"). So this waits until it can.
pub fn copy_program(program: &Path, folder: &Path, name: &str) -> PathBuf {
    let copy = folder.join(name);
    std::fs::copy(program, &copy).expect("the program is copied");
    for _ in 0..1000 {
        let started = Command::new(&copy).arg("--help").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        match started {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::sleep(Duration::from_millis(10)),
            started => {
                started.expect("the copy starts");
                return copy;
            }
        }
    }
    panic!("{} is still open for writing after 10 s", copy.display());
}

/// Selects how much a test does: `with_others` normally, and `in_soak` in `cargo xtask
/// soak`.
pub fn in_soak<T>(with_others: T, in_soak: T) -> T {
    if std::env::var_os("PERSIST_SOAK_SECONDS").is_some() { in_soak } else { with_others }
}

/// The result of a command.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs `persist` in a folder.
pub fn run_in<S: AsRef<OsStr>>(folder: &Path, arguments: &[S]) -> Done {
    persist().current_dir(folder).args(arguments).stdin(Stdio::null()).output().expect("persist starts").into()
}

/// Runs `persist` in a folder, which has to succeed, and returns its stdout.
pub fn ok_in<S: AsRef<OsStr> + std::fmt::Debug>(folder: &Path, arguments: &[S]) -> String {
    let done = run_in(folder, arguments);
    assert!(done.code == 0, "{arguments:?}: {done:?}");
    done.stdout
}

/// Parses the JSON that a command printed.
pub fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Reads a file in a folder.
pub fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Flips a bit of a file.
pub fn flip(folder: &Path, name: &str, at: usize) {
    let mut bytes = read(folder, name);
    bytes[at] ^= 1;
    std::fs::write(folder.join(name), bytes).expect("the damage");
}

/// Runs a command with this input, and returns its output.
pub fn pipe(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().expect("it ends")
    })
}

/// Checks that a page of docs/ contains a figure that the test has just counted.
pub fn assert_page_says(page: &str, figure: &str) {
    let path = workspace().join("docs").join(page);
    let text = std::fs::read_to_string(&path).expect("the page");
    assert!(text.contains(figure), "docs/{page} does not say: {figure}");
}

/// Waits for a command to end, and returns its peak memory in MiB. `wait4` would include
/// the memory that the child shared with the test's process before it became another
/// program.
pub fn peak_of(child: Child) -> (Done, u64) {
    let status = format!("/proc/{}/status", child.id());
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut peak = 0;
            while !has_ended.load(Ordering::Relaxed) {
                let text = std::fs::read_to_string(&status).unwrap_or_default();
                let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
                peak = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0).max(peak);
                std::thread::sleep(Duration::from_millis(2));
            }
            peak
        });
        let done = child.wait_with_output().expect("it ends").into();
        has_ended.store(true, Ordering::Relaxed);
        let peak = sampler.join().expect("it ends");
        assert!(peak > 0 || !cfg!(target_os = "linux"), "{status} told nothing");
        (done, peak >> 10)
    })
}

/// Returns a state like an agent's: JSON text of varied chat messages, of exactly this
/// many bytes (cut in the middle of a message if necessary).
pub fn chat_state(bytes: u64) -> impl Iterator<Item = Vec<u8>> {
    const WORDS: &str = "the of and to in is that for it as with was on be by at this are from or an have not which one you \
        were all there would their we him been has when who will no more if out so up said what its about than into them can \
        only other time new some could these two may first then do any like my now over such our man me even most made after \
        also did many off before must well back through years where much your way down should because long each just state \
        people too mr how little good world make very year still see own work men day get here old between both life being \
        under three never know same last another while us might great go come since against right came take used himself few";
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap_or_default()
    };
    let mut left = bytes;
    let mut number = 0;
    std::iter::from_fn(move || {
        let mut chunk = Vec::with_capacity(1 << 17);
        while left > 0 && chunk.len() < 1 << 16 {
            let role = ["user", "assistant", "tool"][number % 3];
            let mut message = format!("{{\"id\":{number},\"role\":\"{role}\",\"tokens\":{},\"content\":\"", next(5000));
            for _ in 0..20 + next(120) {
                message.push_str(words[next(words.len())]);
                message.push(' ');
            }
            message.push_str("\"},\n");
            number += 1;
            message.truncate(usize::try_from(left).unwrap_or(usize::MAX).min(message.len()));
            left -= message.len() as u64;
            chunk.extend_from_slice(message.as_bytes());
        }
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Returns [`chat_state`] in one piece.
pub fn chat_bytes(bytes: u64) -> Vec<u8> {
    chat_state(bytes).flatten().collect()
}

/// Returns everything in a folder by its relative path, sorted.
pub fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).expect("the folder is there").flatten() {
            let path = entry.path();
            found.push(path.strip_prefix(folder).expect("it is below").display().to_string());
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Returns bytes that do not compress, the same each time.
pub fn noise(length: usize) -> Vec<u8> {
    let mut random = 7_u64;
    let next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

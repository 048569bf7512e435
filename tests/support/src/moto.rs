//! Programs from the Python package index that the S3 tests need: `moto`, a second
//! server, and `aws`, another client. They are installed in a separate virtual
//! environment.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use persist_host::S3StorageAdapter;

use crate::built;
use crate::server::{ACCESS_KEY, BUCKET, SECRET_KEY, adapter_with};
use crate::workspace::workspace;

/// The folder of the environment's programs. It is created once, even if several test
/// processes need it at the same time.
static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = built::tmp().join("venv");
    let list = workspace().join("tests/requirements.txt");
    let requirements = fs::read_to_string(&list).expect("the requirements are there");
    // The programs contain their paths, so an environment that was moved is recreated.
    let wanted = format!("{requirements}# {}\n", folder.display());
    let lock = File::create(folder.with_extension("lock")).expect("a lock");
    lock.lock().expect("it is locked");
    let done = folder.join("requirements.txt");
    if fs::read_to_string(&done).ok().as_ref() != Some(&wanted) {
        // Removes a partial installation.
        let _ = fs::remove_dir_all(&folder);
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&list));
        fs::write(&done, &wanted).expect("the folder can be written");
    }
    folder.join("bin")
});

fn run(command: &mut Command) {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Returns the command `aws` for a server, with the tests' credentials.
pub fn aws(endpoint: &str) -> Command {
    let mut command = Command::new(PROGRAMS.join("aws"));
    command.args(["--endpoint-url", endpoint]).env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    command.env("AWS_REGION", "us-east-1").env("AWS_CONFIG_FILE", "/dev/null").env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// A server of `moto` with one empty bucket. It stops when it is dropped.
pub struct Moto {
    process: Child,
    port: u16,
}

impl Moto {
    pub fn start() -> Self {
        let mut command = Command::new(PROGRAMS.join("moto_server"));
        // It chooses a free port itself, so that nobody else can take it in between.
        command.args(["-H", "127.0.0.1", "-p", "0"]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("moto starts");
        // The server prints its address when it is ready, and then continues to print.
        let mut lines = BufReader::new(process.stderr.take().expect("stderr is piped")).lines();
        let (began, mut said) = (Instant::now(), String::new());
        let port = loop {
            let line = lines.next().unwrap_or_else(|| panic!("moto ended: {said}")).expect("moto prints text");
            if let Some((_, port)) = line.split_once("Running on http://127.0.0.1:") {
                break port.trim().parse().expect("a port");
            }
            assert!(began.elapsed() < Duration::from_secs(60), "moto does not start: {said}{line}");
            said.push_str(&line);
            said.push('\n');
        };
        std::thread::spawn(move || lines.for_each(drop));
        let moto = Self { process, port };
        moto.make_bucket(BUCKET);
        moto
    }

    /// Creates another bucket.
    pub fn make_bucket(&self, name: &str) {
        run(aws(&self.endpoint()).args(["s3api", "create-bucket", "--bucket", name]));
    }

    /// Returns the URL of the server.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Returns the uploads that were neither completed nor aborted, as the server lists
    /// them.
    pub fn unfinished_uploads(&self, bucket: &str) -> String {
        let mut command = aws(&self.endpoint());
        command.args(["s3api", "list-multipart-uploads", "--bucket", bucket, "--query", "Uploads[].UploadId", "--output", "text"]);
        let listed = command.output().expect("aws runs");
        assert!(listed.status.success(), "{listed:?}");
        String::from_utf8_lossy(&listed.stdout).trim().replace("None", "")
    }

    /// Returns the bucket on this server. If a key is written and read at the same time,
    /// the server sometimes responds with 500, so requests are retried more often than
    /// usual.
    pub fn adapter(&self) -> S3StorageAdapter {
        adapter_with(&self.endpoint(), |options| options.max_attempts = std::num::NonZeroU32::new(10))
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

//! Programs from the Python package index that the tests of S3 need: `moto`, a
//! second server, and `aws`, another client. They live in a virtual environment
//! of the tests' own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use persist_host::S3StorageAdapter;

use super::server::{ACCESS_KEY, BUCKET, SECRET_KEY, adapter_with};

const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/requirements.txt");

/// The folder of the environment's programs. Made once; several test processes
/// may want it at the same time.
static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("venv");
    let requirements = fs::read_to_string(REQUIREMENTS).expect("the requirements are there");
    // Its programs know where they are: an environment that was moved is none.
    let wanted = format!("{requirements}# {}\n", folder.display());
    let lock = File::create(folder.with_extension("lock")).expect("a lock");
    lock.lock().expect("the lock is to be had");
    let done = folder.join("requirements.txt");
    if fs::read_to_string(&done).ok().as_ref() != Some(&wanted) {
        // What half an installation left is of no use.
        let _ = fs::remove_dir_all(&folder);
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS]));
        fs::write(&done, &wanted).expect("the folder can be written");
    }
    folder.join("bin")
});

fn run(command: &mut Command) {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The command `aws`, on a server, with the tests' credentials.
pub(crate) fn aws(endpoint: &str) -> Command {
    let mut command = Command::new(PROGRAMS.join("aws"));
    command.args(["--endpoint-url", endpoint]).env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    command.env("AWS_REGION", "us-east-1").env("AWS_CONFIG_FILE", "/dev/null").env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// A server of `moto` with one empty bucket. It stops when it is dropped.
pub(crate) struct Moto {
    process: Child,
    port: u16,
}

impl Moto {
    pub(crate) fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let mut command = Command::new(PROGRAMS.join("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("moto starts");
        // It says when it is ready, and goes on talking.
        let mut lines = BufReader::new(process.stderr.take().expect("stderr is piped")).lines();
        let began = Instant::now();
        loop {
            let line = lines.next().expect("moto runs").expect("moto talks");
            if line.contains("Running on http") {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "moto does not start: {line}");
        }
        std::thread::spawn(move || lines.for_each(drop));
        let moto = Self { process, port };
        moto.make_bucket(BUCKET);
        moto
    }

    /// Makes one more bucket.
    pub(crate) fn make_bucket(&self, name: &str) {
        run(aws(&self.endpoint()).args(["s3api", "create-bucket", "--bucket", name]));
    }

    /// The URL of the server.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Uploads that were neither completed nor aborted, as the server lists them.
    pub(crate) fn unfinished_uploads(&self, bucket: &str) -> String {
        let mut command = aws(&self.endpoint());
        command.args(["s3api", "list-multipart-uploads", "--bucket", bucket, "--query", "Uploads[].UploadId", "--output", "text"]);
        let listed = command.output().expect("aws runs");
        assert!(listed.status.success(), "{listed:?}");
        String::from_utf8_lossy(&listed.stdout).trim().replace("None", "")
    }

    /// The bucket, by way of this server. It answers 500 now and then where one
    /// key is written and read at once: that is asked again for longer than usual.
    pub(crate) fn adapter(&self) -> S3StorageAdapter {
        adapter_with(&self.endpoint(), |options| options.max_attempts = std::num::NonZeroU32::new(10))
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

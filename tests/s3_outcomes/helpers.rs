//! Writing and reading objects, and running the command on a server.

use std::process::{Command, Stdio};

use persist_host::{Precondition, Result, S3StorageAdapter, StorageAdapter, StorageWriter, WriteOptions};
use persist_test_support::command::Done;
use persist_test_support::proxy::{Operation, Proxy};
use persist_test_support::server::{ACCESS_KEY, SECRET_KEY, Server, adapter_with};

pub(crate) const MIB: usize = 1 << 20;

pub(crate) fn writer(adapter: &dyn StorageAdapter, key: &str, precondition: Precondition) -> Box<dyn StorageWriter> {
    adapter.open_write(key, WriteOptions::default().precondition(precondition)).expect("it opens")
}

pub(crate) fn put(adapter: &dyn StorageAdapter, key: &str, bytes: &[u8], precondition: Precondition) -> Result<()> {
    let mut writer = writer(adapter, key, precondition);
    writer.write(bytes)?;
    writer.commit().map(drop)
}

pub(crate) fn small_parts(proxy: &Proxy) -> S3StorageAdapter {
    adapter_with(&proxy.endpoint(), |options| options.part_size = 5 * MIB)
}

pub(crate) fn read(server: &Server, key: &str) -> Vec<u8> {
    let adapter = server.adapter();
    adapter.load(&adapter.locate(key).parse().expect("a location")).expect("it is there")
}

pub(crate) fn count(proxy: &Proxy, operation: Operation) -> usize {
    proxy.seen().iter().filter(|seen| seen.operation == operation).count()
}

/// Returns the command with the tests' credentials for a server.
pub(crate) fn persist(endpoint: &str) -> Command {
    let mut command = persist_test_support::command::persist();
    command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY).env("AWS_REGION", "us-east-1");
    command.env("PERSIST_S3_ENDPOINT", endpoint);
    command
}

pub(crate) fn run(command: &mut Command) -> Done {
    command.output().expect("persist starts").into()
}

/// Runs a command, and returns its peak memory in MiB.
pub(crate) fn run_measured(command: &mut Command) -> (Done, u64) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    persist_test_support::command::peak_of(command.spawn().expect("persist starts"))
}

pub(crate) fn json_error(done: &Done) -> serde_json::Value {
    serde_json::from_str(done.stderr.lines().last().unwrap_or_default()).unwrap_or_else(|_| panic!("{done:?}"))
}

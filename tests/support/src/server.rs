//! An S3 server in this process, with signatures, checksums and conditions.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use persist_host::{S3Credentials, S3Options, S3StorageAdapter};
use s3s::auth::SimpleAuth;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::bucket::Bucket;

pub const ACCESS_KEY: &str = "AKIAPERSISTTESTSONLY";
pub const SECRET_KEY: &str = "a-secret-that-is-never-to-be-printed";
pub const BUCKET: &str = "snapshots";

/// A server with one empty bucket. It stops when it is dropped.
pub struct Server {
    pub address: SocketAddr,
    root: TempDir,
    _runtime: Runtime,
}

impl Server {
    pub fn start() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(root.path().join(BUCKET)).expect("a bucket");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let service = {
            let mut builder = S3ServiceBuilder::new(Bucket(FileSystem::new(root.path()).expect("a folder")));
            builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
            // Clients go by the date of the responses, which a proxy may change.
            let mut config = S3Config::default();
            config.presigned_url_max_skew_time_secs = u32::MAX;
            builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
            builder.build()
        };
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("an address");
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    // Clients may break the connection.
                    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, root, _runtime: runtime }
    }

    /// Returns the URL of the server.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the bucket on this server.
    pub fn adapter(&self) -> S3StorageAdapter {
        adapter(&self.endpoint())
    }

    /// Returns the file of an object.
    pub fn file(&self, key: &str) -> PathBuf {
        self.root.path().join(BUCKET).join(key)
    }

    /// Returns the uploads that were neither completed nor aborted, and their parts.
    pub fn unfinished_uploads(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.path()).expect("the folder is there").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(".upload")).collect()
    }
}

/// Returns the bucket on the server at an endpoint.
pub fn adapter(endpoint: &str) -> S3StorageAdapter {
    adapter_with(endpoint, |_| {})
}

/// Returns the bucket on the server at an endpoint, with some options changed.
pub fn adapter_with(endpoint: &str, change: impl FnOnce(&mut S3Options)) -> S3StorageAdapter {
    adapter_in(BUCKET, endpoint, change)
}

/// Returns any bucket on the server at an endpoint, with some options changed.
pub fn adapter_in(bucket: &str, endpoint: &str, change: impl FnOnce(&mut S3Options)) -> S3StorageAdapter {
    let mut options = S3Options::default();
    options.credentials = Some(S3Credentials::new(ACCESS_KEY, SECRET_KEY, None));
    // Short waits, to keep the tests fast.
    options.initial_backoff = Duration::from_millis(2);
    options.max_backoff = Duration::from_millis(10);
    change(&mut options);
    S3StorageAdapter::new(bucket, None, Some(endpoint), options).expect("the options are valid")
}

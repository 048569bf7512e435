//! The way to a bucket: settings, credentials, connections, and the threads
//! that requests run on.

use std::env;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient, StalledStreamProtectionConfig};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use aws_types::service_config::ServiceConfigKey;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use super::error::{Failure, Target, failure, no_credentials};
use super::known::Known;
use super::options::{S3Addressing, S3Checksums, S3Credentials, S3Options};
use super::retry::Retries;
use super::transport::{Body, Transport, sending};
use super::window::Window;
use crate::cancel::{CancelToken, cancelled};
use crate::error::{ErrorCode, PersistError, Result};
use crate::location::is_access_point;
use crate::process::Process;

/// Requests wait for the network, not for processors.
const THREADS: usize = 2;

/// How often somebody who waits for a request looks whether to go on.
const CANCEL_INTERVAL: Duration = Duration::from_millis(50);

/// The slowest upload that is taken for a healthy one, in bytes a second.
const SLOWEST_UPLOAD: u64 = 32 << 10;

/// AWS has buckets everywhere; who names no region means this one.
const DEFAULT_REGION: &str = "us-east-1";

/// One bucket and everything that is kept from request to request.
pub(super) struct Connection {
    pub(super) bucket: String,
    region: Option<String>,
    endpoint: Option<String>,
    pub(super) options: S3Options,
    /// How many small reads are under way at once.
    pub(super) window: Window,
    runtime: Threads,
    service: OnceCell<Service>,
}

impl fmt::Debug for Connection {
    /// Never the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("bucket", &self.bucket).field("region", &self.region).field("endpoint", &self.endpoint).finish()
    }
}

/// What the AWS configuration and the settings came to.
pub(super) struct Service {
    pub(super) client: Client,
    pub(super) region: String,
    pub(super) endpoint: Option<String>,
    pub(super) retries: Retries,
    /// Whether parts of an upload carry checksums, which it has to announce.
    pub(super) has_checksums: bool,
    /// What was learnt of the bucket's service.
    pub(super) known: Arc<Known>,
    credentials: Option<SharedCredentialsProvider>,
}

impl Service {
    /// Whether this is AWS itself, which is known to keep conditions.
    pub(super) fn is_aws(&self) -> bool {
        let host = |endpoint: &String| {
            let rest = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, rest)| rest);
            rest.split(['/', ':']).next().unwrap_or_default().to_ascii_lowercase()
        };
        self.endpoint.as_ref().map(host).is_none_or(|host| host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn"))
    }

    /// The credentials' access key id and where they come from. Never a secret.
    pub(super) async fn credentials(&self) -> Result<(String, Option<String>)> {
        use aws_credential_types::credential_feature::AwsCredentialFeature;
        let missing = || PersistError::new(ErrorCode::Credentials, "AWS credentials not found");
        let provider = self.credentials.as_ref().ok_or_else(missing)?;
        let found = provider.provide_credentials().await.map_err(|error| no_credentials(&error))?;
        let features = found.get_property::<Vec<AwsCredentialFeature>>();
        let source = features.and_then(|features| features.iter().rev().find_map(source_name));
        Ok((found.access_key_id().to_owned(), source.map(str::to_owned)))
    }
}

/// What users call the places that credentials come from.
fn source_name(feature: &aws_credential_types::credential_feature::AwsCredentialFeature) -> Option<&'static str> {
    use aws_credential_types::credential_feature::AwsCredentialFeature as From;
    Some(match feature {
        From::CredentialsCode => "the program",
        From::CredentialsEnvVars => "the environment",
        From::CredentialsEnvVarsStsWebIdToken | From::CredentialsStsAssumeRoleWebId | From::CredentialsProfileStsWebIdToken => {
            "a web identity token"
        }
        From::CredentialsProfile | From::CredentialsProfileSourceProfile | From::CredentialsProfileNamedProvider => "a profile",
        From::CredentialsSso | From::CredentialsProfileSso => "single sign-on",
        From::CredentialsProcess | From::CredentialsProfileProcess => "a credentials process",
        From::CredentialsStsAssumeRole => "an assumed role",
        From::CredentialsHttp => "the container's role",
        From::CredentialsImds => "the instance's role",
        _ => return None,
    })
}

/// The threads that requests run on, in the process that started them.
struct Threads {
    process: Process,
    /// None only while this is dropped.
    runtime: Option<Runtime>,
}

impl Threads {
    /// # Errors
    /// `LimitExceeded` if the system allows no more threads.
    fn start() -> Result<Self> {
        let started = crate::threads::first_allowed(THREADS, |threads| {
            tokio::runtime::Builder::new_multi_thread().worker_threads(threads).thread_name("persist-s3").enable_all().build()
        });
        let runtime = started.map_err(|error| {
            PersistError::new(ErrorCode::LimitExceeded, format!("no threads could be started for requests: {error}"))
                .hint("raise the limit of processes ('ulimit -u'), or let fewer run")
        })?;
        Ok(Self { process: Process::this(), runtime: Some(runtime) })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        if self.process.is_this() {
            // Waiting for them is not allowed on an async thread, and not needed:
            // whoever had a request under way waited for it.
            runtime.shutdown_background();
        } else {
            // In a child process they do not run, and may hold what this would wait for.
            std::mem::forget(runtime);
        }
    }
}

impl Connection {
    pub(super) fn new(bucket: String, region: Option<String>, endpoint: Option<String>, options: S3Options) -> Result<Self> {
        options.validate()?;
        let (runtime, window, service) = (Threads::start()?, Window::default(), OnceCell::new());
        Ok(Self { bucket, region, endpoint, options, window, runtime, service })
    }

    /// The location of a key, as a user would write it.
    pub(super) fn locate(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    /// The bucket, and the server as far as the settings name one. Where they don't,
    /// buckets of one name on two servers are told apart by the etags in them.
    pub(super) fn identity(&self) -> String {
        format!("s3 {} {} {}", self.endpoint.as_deref().unwrap_or_default(), self.region.as_deref().unwrap_or_default(), self.bucket)
    }

    /// Starts work on the threads for requests. What it comes to arrives at the
    /// receiver; if nothing does, the work was aborted.
    ///
    /// # Errors
    /// `Configuration` in a process that was forked off: the threads are not in it.
    pub(super) fn start<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<Work<T>> {
        self.runtime.process.check()?;
        let (sender, done) = mpsc::sync_channel(1);
        let task = self.runtime.runtime.as_ref().map(|runtime| {
            runtime.spawn(async move {
                // Nobody may be waiting any more.
                let _ = sender.send(work.await);
            })
        });
        Ok(Work { process: self.runtime.process, done, task })
    }

    /// Whether this is the process that made the connection.
    pub(super) fn is_of_this_process(&self) -> bool {
        self.runtime.process.is_this()
    }

    /// What was learnt of the bucket's service so far, if it was asked anything.
    pub(super) fn known(&self) -> Option<&Known> {
        self.service.get().map(|service| &*service.known)
    }

    /// Client and region, found out when they are first needed.
    pub(super) async fn service(&self) -> Result<&Service> {
        self.service.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Service> {
        let options = &self.options;
        let http = http_client()?;
        let timeouts = TimeoutConfig::builder().connect_timeout(options.connect_timeout).build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http.clone()).timeout_config(timeouts);
        let mut region_of_profile = ProfileFileRegionProvider::builder();
        if let Some(profile) = &options.profile {
            loader = loader.profile_name(profile);
            // As every AWS tool: a profile that is named comes before keys in the
            // environment.
            loader = loader.credentials_provider(ProfileFileCredentialsProvider::builder().profile_name(profile).build());
            region_of_profile = region_of_profile.profile_name(profile);
        }
        if let Some(region) = self.region.as_deref().or_else(|| arn_region(&self.bucket)) {
            loader = loader.region(Region::new(region.to_owned()));
        } else if self.endpoint.is_some() || is_set("AWS_ENDPOINT_URL_S3") || is_set("AWS_ENDPOINT_URL") {
            // Another server than AWS may not care for regions; that of the
            // machine would be asked of the network.
            let configured = EnvironmentVariableRegionProvider::new();
            let chain = RegionProviderChain::first_try(configured).or_else(region_of_profile.build());
            loader = loader.region(chain.or_else(Region::from_static(DEFAULT_REGION)));
        }
        if let Some(S3Credentials { access_key_id, secret_access_key, session_token }) = &options.credentials {
            let given = Credentials::new(access_key_id, secret_access_key, session_token.clone(), None, "the program");
            loader = loader.credentials_provider(given);
        }
        let shared = loader.load().await;
        let checksums = match options.checksums {
            Some(S3Checksums::WhenSupported) => RequestChecksumCalculation::WhenSupported,
            Some(S3Checksums::WhenRequired) => RequestChecksumCalculation::WhenRequired,
            None => shared.request_checksum_calculation().unwrap_or_default(),
        };
        let configured = || {
            let key = ServiceConfigKey::builder().service_id("S3").env("AWS_ENDPOINT_URL").profile("endpoint_url").build().ok()?;
            shared.service_config()?.load_config(key)
        };
        let endpoint = self.endpoint.clone().or_else(configured).or_else(|| shared.endpoint_url().map(str::to_owned));
        let region = shared.region().map_or(DEFAULT_REGION, Region::as_ref).to_owned();
        let path_style = match options.addressing {
            Some(addressing) => addressing == S3Addressing::Path,
            None => endpoint.is_some() && !options.accelerate && !is_access_point(&self.bucket),
        };
        let retries = Retries {
            max_attempts: options.max_attempts.map_or_else(|| shared.retry_config().map_or(3, RetryConfig::max_attempts), u32::from),
            initial_backoff: options.initial_backoff,
            max_backoff: options.max_backoff,
        };
        let mut config = aws_sdk_s3::config::Builder::from(&shared)
            .region(Region::new(region.clone()))
            .force_path_style(path_style)
            .accelerate(options.accelerate)
            // We send requests again ourselves: what a 412 means depends on it.
            .retry_config(RetryConfig::disabled())
            // A body that does not get on ends the attempt; what comes in has a
            // limit of ours for each piece.
            .stalled_stream_protection(
                StalledStreamProtectionConfig::enabled().download_enabled(false).grace_period(options.timeout).build(),
            );
        config.set_endpoint_url(endpoint.clone());
        config = config.http_client(Transport::new(http)).request_checksum_calculation(checksums);
        match options.checksums {
            Some(S3Checksums::WhenSupported) => config.set_response_checksum_validation(Some(ResponseChecksumValidation::WhenSupported)),
            Some(S3Checksums::WhenRequired) => config.set_response_checksum_validation(Some(ResponseChecksumValidation::WhenRequired)),
            None => &mut config,
        };
        tracing::debug!(region, endpoint, path_style, "the way to the bucket is set up");
        let credentials = shared.credentials_provider();
        let known = Known::of(endpoint.as_deref().unwrap_or_default(), &self.bucket);
        let has_checksums = checksums == RequestChecksumCalculation::WhenSupported;
        Ok(Service { client: Client::from_conf(config.build()), region, endpoint, retries, has_checksums, known, credentials })
    }

    /// Sends a request, again if need be. `bytes` is how much it carries.
    pub(super) async fn request<T, E, F>(&self, operation: &str, bytes: usize, mut send: impl FnMut(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let service = self.service().await?;
        service.retries.run(operation, || self.attempt(service, bytes, Body::Small, send(service.client.clone()))).await
    }

    /// Sends a request once.
    pub(super) async fn attempt<T, E>(
        &self,
        service: &Service,
        bytes: usize,
        body: Body,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let limit = self.options.timeout.saturating_add(Duration::from_secs(bytes as u64 / SLOWEST_UPLOAD));
        let target = Target { bucket: &self.bucket, region: &service.region };
        let (answer, was_sent) = sending(body, tokio::time::timeout(limit, request)).await;
        match answer {
            Ok(answer) => answer.map_err(|error| failure(&error, was_sent, &target)),
            Err(_) => Err(Failure::timeout(limit, was_sent)),
        }
    }
}

/// The region that an access point is in, which its ARN names.
fn arn_region(bucket: &str) -> Option<&str> {
    is_access_point(bucket).then(|| bucket.split(':').nth(3)).flatten().filter(|region| !region.is_empty())
}

fn is_set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// TLS by rustls on ring: it builds with a C compiler alone, for every target
/// of ours. Proxies are those of the environment, as for other commands.
fn http_client() -> Result<SharedHttpClient> {
    let mut trust = TrustStore::default();
    if let Some(path) = env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()).map(PathBuf::from) {
        let pem = std::fs::read(&path).map_err(|error| {
            PersistError::new(ErrorCode::InvalidArgument, format!("the file of AWS_CA_BUNDLE can't be read: {error}")).at(path.display())
        })?;
        trust = trust.with_pem_certificate(pem);
    }
    let tls = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|error| PersistError::new(ErrorCode::InvalidArgument, format!("TLS could not be set up: {error}")))?;
    Ok(Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(tls.clone())
            .proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.build()
    }))
}

/// How long it may take to end what was cancelled, all of it. A service may carry
/// out a request that it has received whole, also when its connection is closed,
/// and keep a part of an upload that was aborted meanwhile: what is under way is
/// waited for. What is still being sent by then never arrives whole.
pub(super) const WINDING_DOWN: Duration = Duration::from_secs(3);

/// How much of that is left to abort an upload.
const TAKING_BACK: Duration = Duration::from_secs(1);

/// When what is ended has to be over.
#[derive(Clone, Copy, Debug)]
pub(super) struct End(Instant);

impl End {
    /// Of what the token stopped; of what ends by itself, counted from now.
    pub(super) fn of(cancel: &CancelToken) -> Self {
        Self(cancel.since().unwrap_or_else(Instant::now) + WINDING_DOWN)
    }

    /// For the requests that are under way.
    fn requests(self, is_taken_back: bool) -> Instant {
        if is_taken_back { self.0 - TAKING_BACK } else { self.0 }
    }
}

/// Work that was started, and aborts when it is dropped.
pub(super) struct Work<T> {
    process: Process,
    done: Receiver<T>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl<T> Work<T> {
    /// Waits for the work, or until the token says otherwise. This works on
    /// any thread, also one that runs async tasks.
    ///
    /// # Errors
    /// `Cancelled`, and `Configuration` in a process that was forked off
    /// meanwhile; the work goes on until it is dropped.
    pub(super) fn wait(&self, cancel: &CancelToken) -> Result<T> {
        loop {
            match self.done.recv_timeout(CANCEL_INTERVAL) {
                Ok(done) => return Ok(done),
                Err(RecvTimeoutError::Timeout) => self.process.check().and_then(|()| cancel.check())?,
                Err(RecvTimeoutError::Disconnected) => return Err(aborted()),
            }
        }
    }

    /// What the work comes to by then, if anything.
    fn wait_until(&self, until: Instant) -> Option<T> {
        self.done.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }

    /// What the work comes to before what it is for is taken back, if anything.
    pub(super) fn wait_before_taking_back(&self, end: End) -> Option<T> {
        self.wait_until(end.requests(true))
    }

    /// Waits for work that takes back what was begun: until it is done, or until
    /// the end of what was cancelled. What it has not come to by then it goes on
    /// with, as long as the process does.
    pub(super) fn wait_to_take_back(mut self, cancel: &CancelToken, end: End, is_last_chance: bool) -> Option<T> {
        let end = if is_last_chance {
            end
        } else {
            match self.wait(cancel) {
                Ok(done) => return Some(done),
                Err(_) => End::of(cancel),
            }
        };
        let done = self.wait_until(end.0);
        if done.is_none() {
            self.task = None;
        }
        done
    }
}

/// How long it takes at most that work ends which was aborted: until it waits for
/// something.
const ABORTING: Duration = Duration::from_millis(100);

impl<T> Work<Result<T, Failure>> {
    /// Waits for work that changes something. Whoever cancels that is told what it
    /// came to all the same; `what` says what is not known where nothing is, unless
    /// the change was not `begun` at all. If it `is_taken_back` then, time is left
    /// for that.
    pub(super) fn wait_for_change(&self, cancel: &CancelToken, what: &str, begun: &AtomicBool, is_taken_back: bool) -> Result<T> {
        let cancelled = match self.wait(cancel) {
            Ok(done) => return done.map_err(|failure| failure.error),
            Err(error) if error.code() != ErrorCode::Cancelled => return Err(error),
            Err(cancelled) => cancelled,
        };
        let mut done = self.wait_until(End::of(cancel).requests(is_taken_back) - ABORTING);
        let mut has_ended = done.is_some();
        if !has_ended {
            if let Some(task) = &self.task {
                task.abort();
            }
            // Once it has ended, it does not begin any more.
            let aborted = self.done.recv_timeout(ABORTING);
            has_ended = !matches!(aborted, Err(RecvTimeoutError::Timeout));
            done = aborted.ok();
        }
        match done {
            Some(Ok(done)) => Ok(done),
            // It was settled.
            Some(Err(failure)) if failure.error.code() != ErrorCode::OutcomeUnknown => Err(cancelled),
            None if has_ended && !begun.load(Ordering::Acquire) => Err(cancelled),
            _ => Err(Failure::from(cancelled).outcome_unknown(what).error),
        }
    }
}

fn aborted() -> PersistError {
    cancelled().hint("its threads have ended")
}

impl<T> Drop for Work<T> {
    fn drop(&mut self) {
        // In a child process the task is the parent's.
        if let Some(task) = self.task.as_ref().filter(|_| self.process.is_this()) {
            task.abort();
        }
    }
}

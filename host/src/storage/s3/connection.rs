//! The connection to a bucket: settings, credentials, HTTP client, and the threads that
//! requests run on.

use std::env;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self};
use std::time::Duration;

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
use aws_types::SdkConfig;
use aws_types::service_config::ServiceConfigKey;
use persist_model::{ErrorCode, PersistError, Result};
use persist_paths::is_access_point;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use super::error::{Failure, Target, failure, no_credentials};
use super::known::Known;
use super::options::{S3Addressing, S3Checksums, S3Credentials, S3Options};
use super::retry::Retries;
use super::transport::{Body, Transport, sending, timed};
use super::window::Window;
use crate::storage::s3::work::Work;
use crate::system::process::Process;

/// Requests wait for the network, not for processors.
const THREADS: usize = 2;

/// The slowest upload that counts as healthy, in bytes per second.
const SLOWEST_UPLOAD: u64 = 32 << 10;

/// The region if none is configured, as for every AWS tool.
const DEFAULT_REGION: &str = "us-east-1";

/// A bucket, and everything that is kept between requests.
pub(super) struct Connection {
    pub(super) bucket: String,
    region: Option<String>,
    endpoint: Option<String>,
    pub(super) options: S3Options,
    /// The program's own configuration, instead of that of every AWS tool.
    config: Option<SdkConfig>,
    /// Limits how many small reads are in progress at once.
    pub(super) window: Window,
    runtime: Threads,
    service: OnceCell<Service>,
}

impl fmt::Debug for Connection {
    /// Leaves out the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("bucket", &self.bucket).field("region", &self.region).field("endpoint", &self.endpoint).finish()
    }
}

/// The result of the AWS configuration and the settings.
pub(super) struct Service {
    pub(super) client: Client,
    pub(super) region: String,
    pub(super) endpoint: Option<String>,
    pub(super) retries: Retries,
    /// Whether the parts of an upload carry checksums, which the upload has to
    /// announce.
    pub(super) has_checksums: bool,
    /// What was learned about the bucket's service.
    pub(super) known: Arc<Known>,
    credentials: Option<SharedCredentialsProvider>,
}

impl Service {
    /// Returns whether this is AWS itself, which is known to support conditions.
    pub(super) fn is_aws(&self) -> bool {
        let host = |endpoint: &String| {
            let rest = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, rest)| rest);
            rest.split(['/', ':']).next().unwrap_or_default().to_ascii_lowercase()
        };
        self.endpoint.as_ref().map(host).is_none_or(|host| host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn"))
    }

    /// Returns the access key ID of the credentials and where they come from, but never
    /// a secret.
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

/// Returns what users call a source of credentials.
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
    /// None only while this is being dropped.
    runtime: Option<Runtime>,
}

impl Threads {
    /// # Errors
    /// `LimitExceeded` if the system allows no more threads.
    fn start() -> Result<Self> {
        let started = crate::system::threads::first_allowed(THREADS, |threads| {
            tokio::runtime::Builder::new_multi_thread().worker_threads(threads).thread_name("persist-s3").enable_all().build()
        });
        let runtime = started.map_err(|error| {
            PersistError::new(ErrorCode::LimitExceeded, format!("no threads could be started for requests: {error}"))
                .hint("raise the limit on processes with 'ulimit -u', or run fewer of them")
                .caused_by(error)
        })?;
        Ok(Self { process: Process::this(), runtime: Some(runtime) })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        if self.process.is_this() {
            // Waiting for the threads is not allowed on an async thread. It is not
            // necessary either: every caller waited for its own requests.
            runtime.shutdown_background();
        } else {
            // In a child process, the threads do not exist, and waiting for what they
            // hold would never end.
            std::mem::forget(runtime);
        }
    }
}

impl Connection {
    pub(super) fn new(bucket: String, region: Option<String>, endpoint: Option<String>, options: S3Options) -> Result<Self> {
        options.validate()?;
        let (runtime, window, service) = (Threads::start()?, Window::default(), OnceCell::new());
        Ok(Self { bucket, region, endpoint, options, config: None, window, runtime, service })
    }

    /// Returns the connection with the program's own configuration.
    pub(super) fn with_config(self, config: SdkConfig) -> Self {
        Self { config: Some(config), ..self }
    }

    /// Returns the location of a key as a user would write it.
    pub(super) fn locate(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    /// Returns the bucket, and its server as far as the settings name one. Otherwise,
    /// buckets of the same name on two servers are told apart by the etags of their
    /// objects.
    pub(super) fn identity(&self) -> String {
        format!("s3 {} {} {}", self.endpoint.as_deref().unwrap_or_default(), self.region.as_deref().unwrap_or_default(), self.bucket)
    }

    /// Starts work on the threads for requests. The receiver gets its result, or
    /// nothing if the work was aborted.
    ///
    /// # Errors
    /// `Configuration` in a forked process, which does not have the threads.
    pub(super) fn start<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<Work<T>> {
        self.runtime.process.check()?;
        let (sender, done) = mpsc::sync_channel(1);
        let task = self.runtime.runtime.as_ref().map(|runtime| {
            runtime.spawn(async move {
                // The receiver may be gone.
                let _ = sender.send(timed(work).await);
            })
        });
        Ok(Work { process: self.runtime.process, done, task })
    }

    /// Returns whether this is the process that made the connection.
    pub(super) fn is_of_this_process(&self) -> bool {
        self.runtime.process.is_this()
    }

    /// Returns what was learned about the bucket's service, if any request was sent.
    pub(super) fn known(&self) -> Option<&Known> {
        self.service.get().map(|service| &*service.known)
    }

    /// Returns the client and its configuration, which are set up on first use.
    pub(super) async fn service(&self) -> Result<&Service> {
        self.service.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Service> {
        let options = &self.options;
        let http = http_client()?;
        let timeouts = TimeoutConfig::builder().connect_timeout(options.connect_timeout).build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http.clone()).timeout_config(timeouts.clone());
        let mut region_of_profile = ProfileFileRegionProvider::builder();
        if let Some(profile) = &options.profile {
            loader = loader.profile_name(profile);
            // As in every AWS tool, a named profile takes precedence over keys in the
            // environment.
            loader = loader.credentials_provider(ProfileFileCredentialsProvider::builder().profile_name(profile).build());
            region_of_profile = region_of_profile.profile_name(profile);
        }
        if let Some(region) = self.region.as_deref().or_else(|| arn_region(&self.bucket)) {
            loader = loader.region(Region::new(region.to_owned()));
        } else if self.endpoint.is_some() || is_set("AWS_ENDPOINT_URL_S3") || is_set("AWS_ENDPOINT_URL") {
            // Other servers than AWS may not use regions. Asking for the region of this
            // machine would need the network.
            let configured = EnvironmentVariableRegionProvider::new();
            let chain = RegionProviderChain::first_try(configured).or_else(region_of_profile.build());
            loader = loader.region(chain.or_else(Region::from_static(DEFAULT_REGION)));
        }
        if let Some(S3Credentials { access_key_id, secret_access_key, session_token }) = &options.credentials {
            let given = Credentials::new(access_key_id, secret_access_key, session_token.clone(), None, "the program");
            loader = loader.credentials_provider(given);
        }
        let shared = match &self.config {
            // Only what is sent here may be sent, and how.
            Some(config) => {
                let version = config.behavior_version().unwrap_or_else(BehaviorVersion::v2026_01_12);
                config.to_builder().behavior_version(version).http_client(http.clone()).timeout_config(timeouts).build()
            }
            None => loader.load().await,
        };
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
            // Requests are retried here, since the meaning of a 412 depends on earlier
            // attempts.
            .retry_config(RetryConfig::disabled())
            // A stalled request body ends the attempt. Response bodies have a timeout
            // of their own for each chunk.
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
        tracing::debug!(region, endpoint, path_style, "set up the connection to the bucket");
        let credentials = shared.credentials_provider();
        let known = Known::of(endpoint.as_deref().unwrap_or_default(), &self.bucket);
        let has_checksums = checksums == RequestChecksumCalculation::WhenSupported;
        Ok(Service { client: Client::from_conf(config.build()), region, endpoint, retries, has_checksums, known, credentials })
    }

    /// Sends a request, with retries. `bytes` is the size of its body.
    pub(super) async fn request<T, E, F>(&self, operation: &str, bytes: usize, mut send: impl FnMut(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
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
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let limit = self.options.timeout.saturating_add(Duration::from_secs(bytes as u64 / SLOWEST_UPLOAD));
        let target = Target { bucket: &self.bucket, region: &service.region };
        let (answer, was_sent) = sending(body, tokio::time::timeout(limit, request)).await;
        match answer {
            Ok(answer) => answer.map_err(|error| {
                let failure = failure(&error, was_sent, &target);
                match error.into_source() {
                    Ok(source) => Failure { error: failure.error.caused_by(source), ..failure },
                    Err(_) => failure,
                }
            }),
            Err(_) => Err(Failure::timeout(limit, was_sent)),
        }
    }
}

/// Returns the region of an access point, from its ARN.
fn arn_region(bucket: &str) -> Option<&str> {
    is_access_point(bucket).then(|| bucket.split(':').nth(3)).flatten().filter(|region| !region.is_empty())
}

fn is_set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// Makes the HTTP client. TLS is rustls with ring, which needs only a C compiler on
/// every target that we support. Proxies come from the environment, as for other
/// commands.
fn http_client() -> Result<SharedHttpClient> {
    let mut trust = TrustStore::default();
    if let Some(path) = env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()).map(PathBuf::from) {
        let pem = std::fs::read(&path).map_err(|error| {
            PersistError::new(ErrorCode::InvalidArgument, format!("the file in AWS_CA_BUNDLE can't be read: {error}"))
                .at(path.display())
                .caused_by(error)
        })?;
        trust = trust.with_pem_certificate(pem);
    }
    let tls = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|error| PersistError::new(ErrorCode::InvalidArgument, format!("TLS could not be set up: {error}")).caused_by(error))?;
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

//! Which storage a command works on, and with which engine: options, over what
//! the environment says.

use clap::Args;

use crate::{Engine, Result, StorageBackend, StorageConfig};

#[derive(Args)]
#[command(next_help_heading = "Storage options")]
pub(crate) struct StorageArguments {
    /// Where a location without a scheme is: local, s3 or memory [env:
    /// PERSIST_STORAGE].
    #[arg(long, global = true, value_name = "KIND", value_parser = parse_backend)]
    storage: Option<StorageBackend>,
    /// The bucket of locations without a scheme [env: PERSIST_S3_BUCKET].
    #[arg(long, global = true, value_name = "NAME")]
    s3_bucket: Option<String>,
    /// The bucket's region [env: PERSIST_S3_REGION; else as AWS is configured].
    #[arg(long, global = true, value_name = "REGION")]
    s3_region: Option<String>,
    /// Another server than AWS, as http://127.0.0.1:9000 [env:
    /// PERSIST_S3_ENDPOINT; else as AWS is configured].
    #[arg(long, global = true, value_name = "URL")]
    s3_endpoint: Option<String>,
    #[cfg(feature = "s3")]
    #[command(flatten)]
    s3: S3Arguments,
    #[command(flatten)]
    engine: EngineArguments,
}

fn parse_backend(text: &str) -> Result<StorageBackend, String> {
    text.parse().map_err(|_| "it is local, s3 or memory".to_owned())
}

/// The options of `EngineBuilder`, under their names.
#[derive(Args)]
#[command(next_help_heading = "Engine options")]
struct EngineArguments {
    /// How many instances of the component work on a snapshot at once [env:
    /// PERSIST_WORKERS; else one for each processor].
    #[arg(long, global = true, allow_negative_numbers = true, value_name = "N", hide_short_help = true)]
    workers: Option<String>,
    /// The most memory of an instance [env: PERSIST_MEMORY_LIMIT; else
    /// 128M].
    #[arg(long, global = true, allow_negative_numbers = true, value_name = "SIZE", hide_short_help = true)]
    memory_limit: Option<String>,
    /// The most memory of all instances together [env:
    /// PERSIST_TOTAL_MEMORY_LIMIT; else 4G].
    #[arg(long, global = true, allow_negative_numbers = true, value_name = "SIZE", hide_short_help = true)]
    total_memory_limit: Option<String>,
    /// The longest that the component may compute on a few megabytes [env:
    /// PERSIST_DEADLINE; else 30s].
    #[arg(long, global = true, allow_negative_numbers = true, value_name = "TIME", hide_short_help = true)]
    deadline: Option<String>,
}

/// The options of `S3Options`, under their names; also as `PERSIST_S3_…`.
#[cfg(feature = "s3")]
#[derive(Args)]
#[command(next_help_heading = "S3 options (each also as PERSIST_S3_…)")]
struct S3Arguments {
    /// The profile of the AWS configuration [default: AWS_PROFILE].
    #[arg(long, global = true, visible_alias = "s3-profile", value_name = "NAME")]
    profile: Option<String>,
    /// How the bucket is named in requests: path or virtual [default: path with
    /// an endpoint, else virtual].
    #[arg(long, global = true, value_name = "STYLE", hide_short_help = true)]
    s3_addressing: Option<String>,
    /// Use Transfer Acceleration.
    #[arg(long, global = true, hide_short_help = true)]
    s3_accelerate: bool,
    /// How often a request is sent before its failure counts [default: 3].
    #[arg(long, global = true, allow_negative_numbers = true, value_name = "N", hide_short_help = true)]
    s3_max_attempts: Option<String>,
    /// The first wait before a request is sent again; each later one is twice
    /// as long [default: 100ms].
    #[arg(long, global = true, allow_negative_numbers = true, value_name = "TIME", hide_short_help = true)]
    s3_initial_backoff: Option<String>,
    /// The longest such wait [default: 20s].
    #[arg(long, global = true, allow_negative_numbers = true, value_name = "TIME", hide_short_help = true)]
    s3_max_backoff: Option<String>,
    /// How long a connection may take to be made [default: 5s].
    #[arg(long, global = true, allow_negative_numbers = true, value_name = "TIME", hide_short_help = true)]
    s3_connect_timeout: Option<String>,
    /// How long the server may stay silent [default: 30s].
    #[arg(long, global = true, allow_negative_numbers = true, value_name = "TIME", hide_short_help = true)]
    s3_timeout: Option<String>,
    /// When requests carry checksums: when-supported, or when-required for
    /// servers that refuse others [default: as AWS is configured].
    #[arg(long, global = true, value_name = "WHEN", hide_short_help = true)]
    s3_checksums: Option<String>,
    /// How the server is to encrypt: AES256 or aws:kms [default: as the bucket
    /// is set up].
    #[arg(long, global = true, value_name = "METHOD", hide_short_help = true)]
    s3_sse: Option<String>,
    /// The key for aws:kms.
    #[arg(long, global = true, value_name = "ID", hide_short_help = true)]
    s3_kms_key_id: Option<String>,
    /// The storage class, as STANDARD_IA.
    #[arg(long, global = true, value_name = "CLASS", hide_short_help = true)]
    s3_storage_class: Option<String>,
    /// Tags of the objects that are written.
    #[arg(long, global = true, value_name = "NAME=VALUE,…", hide_short_help = true)]
    s3_tags: Option<String>,
    /// Metadata of the objects that are written, as x-amz-meta-NAME.
    #[arg(long, global = true, value_name = "NAME=VALUE,…", hide_short_help = true)]
    s3_metadata: Option<String>,
    /// The size of the parts that a large object goes in [default: 8M].
    #[arg(long, global = true, allow_negative_numbers = true, value_name = "SIZE", hide_short_help = true)]
    s3_part_size: Option<String>,
    /// Parts in flight at once [default: 4].
    #[arg(long, global = true, allow_negative_numbers = true, value_name = "N", hide_short_help = true)]
    s3_parallel: Option<String>,
}

#[cfg(feature = "s3")]
impl S3Arguments {
    /// The options that were given, by name, in the order in which they apply.
    fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("profile", self.profile.as_deref()),
            ("addressing", self.s3_addressing.as_deref()),
            ("accelerate", self.s3_accelerate.then_some("true")),
            ("max-attempts", self.s3_max_attempts.as_deref()),
            ("initial-backoff", self.s3_initial_backoff.as_deref()),
            ("max-backoff", self.s3_max_backoff.as_deref()),
            ("connect-timeout", self.s3_connect_timeout.as_deref()),
            ("timeout", self.s3_timeout.as_deref()),
            ("checksums", self.s3_checksums.as_deref()),
            ("sse", self.s3_sse.as_deref()),
            ("kms-key-id", self.s3_kms_key_id.as_deref()),
            ("storage-class", self.s3_storage_class.as_deref()),
            ("tags", self.s3_tags.as_deref()),
            ("metadata", self.s3_metadata.as_deref()),
            ("part-size", self.s3_part_size.as_deref()),
            ("parallel", self.s3_parallel.as_deref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
    }
}

impl StorageArguments {
    /// The settings: the options, and where there is none the environment.
    pub(crate) fn config(&self) -> Result<StorageConfig> {
        // What an option says is not asked of the environment.
        let mut given = Vec::new();
        for (name, is_given) in [
            ("PERSIST_STORAGE", self.storage.is_some()),
            ("PERSIST_S3_BUCKET", self.s3_bucket.is_some()),
            ("PERSIST_S3_REGION", self.s3_region.is_some()),
            ("PERSIST_S3_ENDPOINT", self.s3_endpoint.is_some()),
        ] {
            given.extend(is_given.then(|| name.to_owned()));
        }
        #[cfg(feature = "s3")]
        given.extend(self.s3.given().map(|(name, _)| format!("PERSIST_S3_{}", name.to_ascii_uppercase().replace('-', "_"))));
        let mut config = StorageConfig::from_variables(|name| {
            std::env::var_os(name).filter(|_| !given.iter().any(|given| given == name)).map(std::path::PathBuf::from)
        })?;
        if let Some(storage) = self.storage {
            config.backend = storage;
        }
        for (setting, argument) in [
            (&mut config.s3_bucket, &self.s3_bucket),
            (&mut config.s3_region, &self.s3_region),
            (&mut config.s3_endpoint, &self.s3_endpoint),
        ] {
            if argument.is_some() {
                setting.clone_from(argument);
            }
        }
        #[cfg(feature = "s3")]
        for (name, value) in self.s3.given() {
            config.s3.set(name, value).map_err(|error| error.at(format_args!("--s3-{name}")))?;
        }
        Ok(config)
    }
}

impl StorageArguments {
    /// An engine with these settings; its storage is still to be given.
    pub(crate) fn engine(&self) -> Result<Engine> {
        let EngineArguments { workers, memory_limit, total_memory_limit, deadline } = &self.engine;
        let mut builder = Engine::builder();
        for (name, value) in
            [("workers", workers), ("memory-limit", memory_limit), ("total-memory-limit", total_memory_limit), ("deadline", deadline)]
        {
            if let Some(value) = value {
                builder = builder.option(name, value).map_err(|error| error.at(format_args!("--{name}")))?;
            }
        }
        builder.environment()?.build()
    }
}

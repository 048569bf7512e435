//! The options for storage and engine, which override the environment.

use clap::Args;
#[cfg(feature = "s3")]
use clap::{Arg, ArgAction, ArgMatches, FromArgMatches};
use persist_host::{Engine, MemoryStorage, Result, StorageBackend, StorageConfig};
#[cfg(feature = "s3")]
use persist_host::{S3_OPTIONS, S3Option};

#[derive(Args)]
#[command(next_help_heading = "Storage options")]
pub(crate) struct StorageArguments {
    /// The storage for locations without a scheme: local, s3 or memory [env:
    /// PERSIST_STORAGE] [default: local].
    #[arg(long, global = true, value_name = "KIND", value_parser = parse_backend)]
    storage: Option<StorageBackend>,
    /// The bucket for locations without a scheme [env: PERSIST_S3_BUCKET].
    #[arg(long, global = true, value_name = "NAME")]
    s3_bucket: Option<String>,
    /// The bucket's region [env: PERSIST_S3_REGION] [default: from the AWS
    /// configuration].
    #[arg(long, global = true, value_name = "REGION")]
    s3_region: Option<String>,
    /// The URL of an S3 server other than AWS, such as http://127.0.0.1:9000 [env:
    /// PERSIST_S3_ENDPOINT] [default: from the AWS configuration].
    #[arg(long, global = true, value_name = "URL")]
    s3_endpoint: Option<String>,
    #[cfg(feature = "s3")]
    #[command(flatten)]
    s3: S3Arguments,
    #[command(flatten)]
    engine: EngineArguments,
}

fn parse_backend(text: &str) -> Result<StorageBackend, String> {
    text.parse().map_err(|_| "expected local, s3 or memory".to_owned())
}

/// The options of `EngineBuilder`, by their names.
#[derive(Args)]
#[command(next_help_heading = "Engine options")]
struct EngineArguments {
    /// How many instances of the component work on a snapshot at once [env:
    /// PERSIST_WORKERS] [default: one per processor].
    #[arg(long, global = true, allow_negative_numbers = true, value_name = "N", hide_short_help = true)]
    workers: Option<String>,
    /// The maximum memory of one instance [env: PERSIST_MEMORY_LIMIT] [default: 128M].
    #[arg(long, global = true, allow_negative_numbers = true, value_name = "SIZE", hide_short_help = true)]
    memory_limit: Option<String>,
    /// The maximum memory of all instances together [env: PERSIST_TOTAL_MEMORY_LIMIT]
    /// [default: 4G].
    #[arg(long, global = true, allow_negative_numbers = true, value_name = "SIZE", hide_short_help = true)]
    total_memory_limit: Option<String>,
    /// The maximum time that an instance may spend computing on a few megabytes [env:
    /// PERSIST_DEADLINE] [default: 30s].
    #[arg(long, global = true, allow_negative_numbers = true, value_name = "TIME", hide_short_help = true)]
    deadline: Option<String>,
}

/// The options of [`S3_OPTIONS`]. Each can also be set by an environment variable.
#[cfg(feature = "s3")]
struct S3Arguments {
    /// The options that were given, in the order in which they apply.
    given: Vec<(&'static str, String)>,
}

#[cfg(feature = "s3")]
impl S3Arguments {
    fn argument(option: &'static S3Option) -> Arg {
        let argument = Arg::new(option.argument)
            .long(option.argument)
            .global(true)
            .help(option.help)
            .help_heading("S3 options (each can also be set as PERSIST_S3_…)");
        let argument = if option.name == "profile" { argument.visible_alias("s3-profile") } else { argument.hide_short_help(true) };
        match option.value {
            Some(value) => argument.value_name(value).action(ArgAction::Set).allow_negative_numbers(true),
            None => argument.action(ArgAction::SetTrue),
        }
    }
}

#[cfg(feature = "s3")]
impl Args for S3Arguments {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.args(S3_OPTIONS.iter().map(Self::argument))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

#[cfg(feature = "s3")]
impl FromArgMatches for S3Arguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |option: &S3Option| {
            let value = match option.value {
                Some(_) => matches.get_one::<String>(option.argument).cloned(),
                None => matches.get_flag(option.argument).then(|| "true".to_owned()),
            };
            value.map(|value| (option.name, value))
        };
        Ok(Self { given: S3_OPTIONS.iter().filter_map(given).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl StorageArguments {
    /// Returns the storage settings: the options, and for those not given the
    /// environment.
    pub(crate) fn config(&self) -> Result<StorageConfig> {
        // A variable that an option overrides is not read, so that its value may be
        // invalid.
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
        given.extend(self.s3.given.iter().map(|(name, _)| S3Option::variable(name)));
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
        for (name, value) in &self.s3.given {
            config.s3.set(name, value).map_err(|error| error.at(format_args!("--s3-{name}")))?;
        }
        Ok(config)
    }
}

impl StorageArguments {
    /// Builds an engine with these settings. Its storage is still an empty one in memory.
    pub(crate) fn engine(&self) -> Result<Engine> {
        let EngineArguments { workers, memory_limit, total_memory_limit, deadline } = &self.engine;
        let mut builder = Engine::builder().storage(MemoryStorage::new());
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

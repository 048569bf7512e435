//! `persist doctor`

use std::fmt;

use clap::Args;
use persist_host::{HealthCheck, StorageConfig, check_health};
use persist_model::{PersistError, Result};
use serde_json::{Value, json};

use crate::native::options::StorageArguments;
use crate::native::token;
use crate::output::{Failure, Output, printable};

/// Check that snapshots can be stored at a location.
///
/// Checks credentials, region and bucket; writes, reads, lists and deletes a temporary
/// object; and tests preconditions.
///
/// If it is stopped by Ctrl-C, it still deletes the temporary object. The exit code is 0
/// if snapshots can be stored at the location, otherwise that of the check that failed.
/// If the service ignores preconditions, the check only gives a warning:
/// '--if-exists fail' and '--if-match' cannot be used there.
#[derive(Args)]
#[command(after_help = "Example: persist doctor s3://my-bucket/agents")]
pub(crate) struct Arguments {
    /// The folder, or s3://bucket/prefix.
    location: String,
}

/// The checks as text.
struct Sheet<'a>(&'a [HealthCheck]);

impl fmt::Display for Sheet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, check) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            let (mark, text) = match &check.outcome {
                Ok(text) => ("ok", text.clone()),
                Err(error) if check.required => ("FAILED", error.to_string()),
                Err(error) => ("warning", error.to_string()),
            };
            write!(f, "{:<8} {:<13} {:>6} ms  {}", mark, check.name, check.elapsed.as_millis(), printable(&text))?;
            if let Err(error) = &check.outcome
                && let Some(hint) = &error.detail().hint
            {
                write!(f, "\n{:34}({})", "", printable(hint))?;
            }
        }
        Ok(())
    }
}

fn object(check: &HealthCheck) -> Value {
    let error = check.outcome.as_ref().err();
    json!({
        "check": check.name,
        "status": match error { None => "ok", Some(_) if check.required => "failed", Some(_) => "warning" },
        "ms": check.elapsed.as_secs_f64() * 1000.0,
        "message": check.outcome.as_ref().map_or_else(ToString::to_string, Clone::clone),
        "code": error.map(|error| error.code().as_str()),
        "hint": error.and_then(|error| error.detail().hint.clone()),
    })
}

fn check(config: &StorageConfig, location: &str) -> Result<Vec<HealthCheck>> {
    let (storage, prefix) = config.open_folder_to_write(location)?;
    let token = token();
    let checks = check_health(&storage, &prefix, &token);
    let Err(stopped) = token.check() else { return Ok(checks) };
    let deleted = checks.iter().find(|check| check.name == "delete");
    Err(match deleted.and_then(|check| check.outcome.as_ref().err()) {
        Some(error) => {
            let left = error.location().unwrap_or(location);
            stopped.at(left).hint("the temporary object may still be there: delete it with 'persist delete --force'")
        }
        None => stopped.at(location),
    })
}

pub(crate) fn run(arguments: &Arguments, storage: &StorageArguments, output: &Output) -> Result<(), Failure> {
    let checks = check(&storage.config()?, &arguments.location)?;
    let failed = checks.iter().find(|check| !check.is_passed()).and_then(|check| check.outcome.as_ref().err());
    let exit_code = failed.map_or(0, PersistError::exit_code);
    let list: Vec<Value> = checks.iter().map(object).collect();
    output.result(
        &json!({"location": arguments.location, "healthy": failed.is_none(), "exit_code": exit_code, "checks": list}),
        Sheet(&checks),
    )?;
    match failed {
        None => Ok(()),
        Some(_) => Err(Failure::Reported(exit_code)),
    }
}

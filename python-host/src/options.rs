//! Arguments of Python functions, checked one by one so that errors name the argument.

use std::collections::BTreeMap;
use std::path::PathBuf;

use persist_host::{Codec, Durability, ErrorCode, ListFilter, PersistError, Precondition, SnapshotOptions, StorageBackend, StorageConfig};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt, PyMapping, PyString};

use crate::error::{exception, wrong_type};

/// Returns the error for an invalid value of an argument.
fn wrong_value(py: Python<'_>, message: String, hint: &str) -> PyErr {
    exception(py, &PersistError::new(ErrorCode::InvalidArgument, message).hint(hint))
}

fn unexpected(name: &str, wanted: &str, value: &Bound<'_, PyAny>) -> PyErr {
    let class = value.get_type().qualname().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    wrong_type(value.py(), &format!("{name} must be {wanted}, not {class}"), &format!("pass {wanted} as {name}"))
}

/// Checks an argument that is text.
pub(crate) fn text(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let text = value.cast::<PyString>().map_err(|_| unexpected(name, "a str", value))?;
    text.to_str()
        .map(str::to_owned)
        .map_err(|_| wrong_value(value.py(), format!("{name} contains lone surrogates, which are not valid Unicode"), "remove them"))
}

/// Checks an argument that is the name of a codec.
pub(crate) fn codec(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Codec> {
    match text(name, value)?.as_str() {
        "gzip" => Ok(Codec::Gzip),
        "zstd" => Ok(Codec::Zstd),
        other => Err(wrong_value(value.py(), format!("'{}' is not a valid codec", other.escape_debug()), "use gzip or zstd")),
    }
}

pub(crate) fn integer<'py, T: FromPyObject<'py, 'py>>(name: &str, value: &'py Bound<'py, PyAny>) -> PyResult<T> {
    if !value.is_instance_of::<PyInt>() || value.is_instance_of::<PyBool>() {
        return Err(unexpected(name, "an int", value));
    }
    value.extract().map_err(|_| wrong_value(value.py(), format!("{name} is out of range"), "pass a smaller number, not below 0"))
}

/// Checks an argument that is a mapping of text to text.
fn texts(name: &str, value: &Bound<'_, PyAny>) -> PyResult<BTreeMap<String, String>> {
    let entries = value.cast::<PyMapping>().map_err(|_| unexpected(name, "a mapping of str to str", value))?.items()?;
    let entry = |entry: Bound<'_, PyAny>| {
        let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = entry.extract()?;
        Ok((text(&format!("each name in {name}"), &key)?, text(&format!("each value in {name}"), &value)?))
    };
    entries.iter().map(entry).collect()
}

/// Checks an argument that is a time: text, or a datetime with a time zone.
fn timestamp(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = value.py();
    if !value.is_instance(&py.import("datetime")?.getattr("datetime")?)? {
        return text(name, value);
    }
    if value.call_method0("utcoffset")?.is_none() {
        let message = format!("{name} is a datetime without a time zone");
        return Err(wrong_value(py, message, "pass one with tzinfo, such as datetime.now(timezone.utc)"));
    }
    value.call_method0("isoformat")?.extract()
}

/// Returns the filter for these arguments. `None` counts as not given.
pub(crate) fn list_filter(arguments: &Bound<'_, PyDict>) -> PyResult<ListFilter> {
    let mut filter = ListFilter::default();
    for (name, value) in arguments.iter() {
        if value.is_none() {
            continue;
        }
        let name = text("an argument's name", &name)?;
        match name.as_str() {
            "agent_id" => filter.agent_id = Some(text(&name, &value)?),
            "session_id" => filter.session_id = Some(text(&name, &value)?),
            "labels" => filter.labels = texts(&name, &value)?,
            "since" => filter.since = Some(text(&name, &value)?),
            "until" => filter.until = Some(text(&name, &value)?),
            _ => return Err(wrong_type(value.py(), &format!("unknown argument '{name}'"), "remove it")),
        }
    }
    Ok(filter)
}

/// Returns the options of a save for these arguments. `None` counts as not given.
pub(crate) fn snapshot_options(arguments: &Bound<'_, PyDict>) -> PyResult<SnapshotOptions> {
    let py = arguments.py();
    let mut options = SnapshotOptions::default();
    let (mut must_be_absent, mut etag) = (false, None);
    for (name, value) in arguments.iter() {
        if value.is_none() {
            continue;
        }
        let name = text("an argument's name", &name)?;
        match name.as_str() {
            "agent_id" => options.agent_id = text(&name, &value)?,
            "session_id" => options.session_id = text(&name, &value)?,
            "snapshot_index" => options.snapshot_index = integer(&name, &value)?,
            "description" => options.description = Some(text(&name, &value)?),
            "labels" => options.labels = texts(&name, &value)?,
            "content_type" => options.content_type = Some(text(&name, &value)?),
            "extra" => options.extra = Some(text(&name, &value)?),
            "codec" => options.codec = Some(codec(&name, &value)?),
            "level" => options.level = Some(integer(&name, &value)?),
            "snapshot_id" => options.snapshot_id = Some(text(&name, &value)?),
            "timestamp" => options.timestamp = Some(timestamp(&name, &value)?),
            "if_exists" => {
                must_be_absent = match text(&name, &value)?.as_str() {
                    "replace" => false,
                    "fail" => true,
                    other => {
                        return Err(wrong_value(
                            py,
                            format!("'{}' is not a valid value for if_exists", other.escape_debug()),
                            "use replace or fail",
                        ));
                    }
                }
            }
            "if_match" => etag = Some(text(&name, &value)?),
            _ => return Err(wrong_type(py, &format!("unknown argument '{name}'"), "remove it")),
        }
    }
    options.precondition = match (must_be_absent, etag) {
        (true, Some(_)) => {
            return Err(wrong_value(py, "if_exists=\"fail\" and if_match cannot be used together".to_owned(), "pass one of them"));
        }
        (true, None) => Precondition::IfAbsent,
        (false, Some(etag)) => Precondition::IfMatch(etag),
        (false, None) => Precondition::None,
    };
    Ok(options)
}

/// The storage settings from the arguments of a Python function.
struct Settings {
    config: StorageConfig,
    /// Whether the storage was named by an argument.
    mode: Option<StorageBackend>,
    bucket: Option<String>,
}

/// Returns a path or location, and the settings to interpret it with.
pub(crate) fn place(path: &Bound<'_, PyAny>, arguments: &Bound<'_, PyDict>) -> PyResult<(PathBuf, StorageConfig)> {
    let (found, settings) = (self::path(path)?, settings(arguments)?);
    if let Some(text) = found.to_str() {
        settings.check_uri(path.py(), text)?;
    }
    Ok((found, settings.config))
}

/// Returns the storage settings: the arguments, and for those not given the environment.
fn settings(arguments: &Bound<'_, PyDict>) -> PyResult<Settings> {
    let py = arguments.py();
    let mut config = StorageConfig::from_env().map_err(|error| exception(py, &error))?;
    let (mut mode, mut bucket) = (None, None);
    for (name, value) in arguments.iter() {
        if value.is_none() {
            continue;
        }
        let name = text("an argument's name", &name)?;
        match name.as_str() {
            "storage_mode" => {
                let parsed = text(&name, &value)?.parse().map_err(|error: PersistError| exception(py, &error.at("storage_mode")))?;
                config.backend = parsed;
                mode = Some(parsed);
            }
            "s3_bucket" => {
                bucket = Some(text(&name, &value)?);
                config.s3_bucket.clone_from(&bucket);
            }
            "s3_region" => config.s3_region = Some(text(&name, &value)?),
            "s3_endpoint" => config.s3_endpoint = Some(text(&name, &value)?),
            "s3_options" => {
                for (option, value) in texts(&name, &value)? {
                    config.s3.set(&option.replace('_', "-"), &value).map_err(|error| exception(py, &error.at("s3_options")))?;
                }
            }
            "fsync" => {
                let fsync = value.cast::<PyBool>().map_err(|_| unexpected(&name, "a bool", &value))?;
                config.durability = if fsync.is_true() { Durability::Fsync } else { Durability::None };
            }
            _ => return Err(wrong_type(py, &format!("unknown argument '{name}'"), "remove it")),
        }
    }
    Ok(Settings { config, mode, bucket })
}

impl Settings {
    /// Checks that the arguments do not contradict a location with a scheme.
    fn check_uri(&self, py: Python<'_>, path: &str) -> PyResult<()> {
        let Some((scheme, rest)) = path.split_once("://") else { return Ok(()) };
        let backend = match scheme {
            "s3" => StorageBackend::S3,
            "memory" => StorageBackend::Memory,
            "file" => StorageBackend::Local,
            // Parsing the location refuses it.
            _ => return Ok(()),
        };
        let contradiction = |argument: String| {
            let error = PersistError::new(ErrorCode::InvalidArgument, format!("the location contradicts {argument}"));
            Err(exception(py, &error.at(path).hint("remove one of the two")))
        };
        if let Some(mode) = self.mode.filter(|mode| *mode != backend) {
            return contradiction(format!("storage_mode=\"{mode}\""));
        }
        let (bucket, _) = persist_paths::split_bucket(rest);
        match &self.bucket {
            Some(wanted) if backend == StorageBackend::S3 && wanted != bucket => contradiction("s3_bucket".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Returns a path or location from a `str` or an `os.PathLike`.
fn path(value: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    let py = value.py();
    let is_text = value.is_instance_of::<PyString>();
    let plain = if is_text { Ok(value.clone()) } else { py.import("os")?.call_method1("fspath", (value,)) };
    let plain = plain.ok().filter(|plain| plain.is_instance_of::<PyString>());
    let plain = plain.ok_or_else(|| unexpected("the path", "a str or an os.PathLike", value))?;
    let path: PathBuf = plain.extract()?;
    // pathlib turns 's3://bucket' into a folder called 's3:'.
    let is_folded = path.to_str().is_some_and(|text| {
        ["s3:", "memory:", "file:"]
            .iter()
            .any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| rest.starts_with('/') && !rest.starts_with("//")))
    });
    if is_folded {
        let message = "this is neither a path nor a location: a scheme must be followed by //".to_owned();
        return Err(wrong_value(py, message, "pass the location as a str, since a pathlib.Path folds the slashes: \"s3://bucket/key\""));
    }
    Ok(path)
}

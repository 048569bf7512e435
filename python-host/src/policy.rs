//! The rules for what to keep of a timeline.

use persist_host::PersistError;
use persist_host::timeline::{Every, Period, Policy};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::{exception, wrong_type};
use crate::options;

fn every(name: &str) -> Option<Every> {
    Every::ALL.into_iter().find(|every| every.name() == name)
}

/// Checks an argument that is a period, such as `30d`.
fn period(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Period> {
    let parsed = options::text(name, value)?.parse();
    parsed.map_err(|error: PersistError| exception(value.py(), &error.at(name)))
}

/// Returns the policy for the arguments whose names begin with `keep_`. `None` counts as
/// not given.
pub(crate) fn policy(rules: &Bound<'_, PyDict>) -> PyResult<Policy> {
    let mut policy = Policy::default();
    for (name, value) in rules.iter() {
        if value.is_none() {
            continue;
        }
        let name = options::text("an argument's name", &name)?;
        let rule = name.strip_prefix("keep_").unwrap_or_default();
        let within = rule.strip_prefix("within_").and_then(every);
        match rule {
            "last" => policy.last = options::integer(&name, &value)?,
            "within" => policy.within = Some(period(&name, &value)?),
            "labels" => policy.labels = value.extract()?,
            _ => match (every(rule), within) {
                (Some(every), _) => drop(policy.newest.insert(every, options::integer(&name, &value)?)),
                (None, Some(every)) => drop(policy.newest_within.insert(every, period(&name, &value)?)),
                (None, None) => return Err(wrong_type(value.py(), &format!("unknown argument '{name}'"), "remove it")),
            },
        }
    }
    Ok(policy)
}

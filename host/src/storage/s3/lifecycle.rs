//! Looks for settings of a bucket that lose objects or keep deleted ones.

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{BucketVersioningStatus, ExpirationStatus, LifecycleRule, TransitionStorageClass};
use persist_model::{ErrorCode, PersistError, Result};

use crate::storage::HealthCheck;
use crate::storage::s3::bucket::S3StorageAdapter;

/// Checks the lifecycle rules and the versioning of a bucket. Not everybody may read them, and
/// not every service has them; then these checks say so.
pub(super) fn checks(storage: &S3StorageAdapter, prefix: &str) -> [HealthCheck; 2] {
    let rules = read_rules(storage, prefix);
    let lifecycle = HealthCheck::run("lifecycle", || expiring(&rules));
    let versioning = HealthCheck::run("versioning", || versioning(storage, prefix, &rules));
    [lifecycle, versioning].map(|check| HealthCheck { required: false, ..check })
}

/// Returns the rules that apply to objects whose keys begin with a prefix.
fn read_rules(storage: &S3StorageAdapter, prefix: &str) -> Result<Vec<LifecycleRule>> {
    let rules = storage.run("", |connection| async move {
        let send = |client: Client| client.get_bucket_lifecycle_configuration().bucket(&connection.bucket).send();
        match connection.request("GetBucketLifecycleConfiguration", 0, send).await {
            Ok(found) => Ok(found.rules.unwrap_or_default()),
            Err(failure) if failure.service_code == "NoSuchLifecycleConfiguration" => Ok(Vec::new()),
            Err(failure) => Err(failure),
        }
    })?;
    let concerns = |rule: &LifecycleRule| {
        let of_rule = prefix_of(rule);
        let is_near = prefix.starts_with(of_rule) || of_rule.starts_with(prefix);
        *rule.status() == ExpirationStatus::Enabled && is_near && !is_by_tag(rule)
    };
    Ok(rules.into_iter().filter(concerns).collect())
}

/// Returns what the keys of a rule's objects begin with.
fn prefix_of(rule: &LifecycleRule) -> &str {
    let of_filter = rule.filter().and_then(|filter| filter.prefix().or_else(|| filter.and()?.prefix()));
    // An older form has the prefix in the rule itself.
    #[allow(deprecated, reason = "services still return it")]
    of_filter.or_else(|| rule.prefix()).unwrap_or_default()
}

/// Whether a rule is about objects with a tag, which only some have.
fn is_by_tag(rule: &LifecycleRule) -> bool {
    let Some(filter) = rule.filter() else { return false };
    filter.tag().is_some() || filter.and().is_some_and(|and| !and.tags().is_empty())
}

fn counted(days: i32) -> String {
    if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
}

/// Looks for a rule that makes objects unreadable.
fn expiring(rules: &Result<Vec<LifecycleRule>>) -> Result<String> {
    let rules = match rules {
        Ok(rules) => rules,
        Err(error) => return Ok(format!("the rules can't be read: {error}")),
    };
    let expires = |rule: &&LifecycleRule| rule.expiration().is_some_and(|expires| expires.days().is_some() || expires.date().is_some());
    let after = |days: Option<i32>| days.map_or_else(String::new, |days| format!(" after {}", counted(days)));
    if let Some(rule) = rules.iter().find(expires) {
        let after = after(rule.expiration().and_then(|expires| expires.days()));
        let message = format!("{}{after}, which destroys timelines", described(rule, "deletes"));
        return Err(PersistError::new(ErrorCode::Unsupported, message)
            .hint("new steps of a timeline depend on old ones: limit the rule to other prefixes, and use 'persist prune'"));
    }
    if let Some((rule, class, days)) = rules.iter().find_map(|rule| archived(rule).map(|(class, days)| (rule, class, days))) {
        let message = format!("{}{} to {class}, where they can't be read", described(rule, "moves"), after(days));
        return Err(PersistError::new(ErrorCode::Unsupported, message)
            .hint("new steps of a timeline depend on old ones: limit the rule to other prefixes, or use a class such as GLACIER_IR"));
    }
    Ok("no rule expires or archives objects".to_owned())
}

/// Says which rule does something to which objects.
fn described(rule: &LifecycleRule, what: &str) -> String {
    let name = rule.id().map_or_else(|| "a lifecycle rule without a name".to_owned(), |id| format!("the lifecycle rule '{id}'"));
    let below = Some(prefix_of(rule)).filter(|below| !below.is_empty()).map_or_else(String::new, |below| format!(" below {below}"));
    format!("{name} {what} objects{below}")
}

/// Returns the storage class to which a rule moves objects, if they have to be restored before they
/// can be read, and after how many days.
fn archived(rule: &LifecycleRule) -> Option<(&str, Option<i32>)> {
    let archives = |class: &TransitionStorageClass| matches!(class, TransitionStorageClass::Glacier | TransitionStorageClass::DeepArchive);
    rule.transitions().iter().find_map(|to| to.storage_class().filter(|class| archives(class)).map(|class| (class.as_str(), to.days())))
}

fn versioning(storage: &S3StorageAdapter, prefix: &str, rules: &Result<Vec<LifecycleRule>>) -> Result<String> {
    let status = storage.run("", |connection| async move {
        let send = |client: Client| client.get_bucket_versioning().bucket(&connection.bucket).send();
        Ok(connection.request("GetBucketVersioning", 0, send).await?.status)
    });
    match status {
        Ok(Some(BucketVersioningStatus::Enabled)) => {}
        Ok(Some(_)) => return Ok("suspended: earlier versions stay until a lifecycle rule removes them".to_owned()),
        Ok(None) => return Ok("off: what is deleted is gone".to_owned()),
        Err(error) => return Ok(format!("it can't be read: {error}")),
    }
    let Ok(rules) = rules else {
        return Ok("on: deleting frees space only if a lifecycle rule removes noncurrent versions".to_owned());
    };
    // One for a part of the objects leaves the versions of the others.
    let days = |rule: &LifecycleRule| rule.noncurrent_version_expiration().and_then(|expires| expires.noncurrent_days());
    match rules.iter().filter(|rule| prefix.starts_with(prefix_of(rule))).find_map(days) {
        Some(days) => Ok(format!("on: what is deleted or pruned is gone after {}", counted(days))),
        None => Err(PersistError::new(ErrorCode::Unsupported, "the bucket keeps every version, so deleting and pruning free no space")
            .hint("add a lifecycle rule with NoncurrentVersionExpiration")),
    }
}

//! The checks of a bucket before anything is written.

use aws_sdk_s3::Client;
use persist_model::Result;

use super::error::Failure;
use crate::storage::HealthCheck;
use crate::storage::s3::bucket::S3StorageAdapter;
use crate::storage::s3::lifecycle;

/// Checks credentials, region and bucket, in the order in which they are needed.
pub(super) fn checks(storage: &S3StorageAdapter, prefix: &str) -> Vec<HealthCheck> {
    let credentials = HealthCheck::run("credentials", || {
        let (key_id, source) = storage.run("", |connection| async move { Ok(connection.service().await?.credentials().await?) })?;
        let source = source.unwrap_or_else(|| "the AWS configuration".to_owned());
        Ok(format!("{} from {source}", masked(&key_id)))
    });
    let is_signed = credentials.is_passed();
    let region = HealthCheck::run("region", || {
        storage.run("", |connection| async move {
            let service = connection.service().await?;
            let endpoint = service.endpoint.as_deref().unwrap_or("AWS");
            Ok(format!("{} at {endpoint}", service.region))
        })
    });
    let mut checks = vec![credentials, region];
    if is_signed {
        checks.push(HealthCheck::run("bucket", || reach(storage, prefix)));
    }
    if checks.iter().all(HealthCheck::is_passed) {
        checks.extend(lifecycle::checks(storage, prefix));
    }
    checks
}

/// Lists one key of the bucket. Unlike the response to a HEAD, an error says what is
/// wrong.
fn reach(storage: &S3StorageAdapter, prefix: &str) -> Result<String> {
    // A policy may allow only this prefix.
    let prefix = Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty());
    storage.run("", |connection| async move {
        let list = |client: Client| client.list_objects_v2().bucket(&connection.bucket).max_keys(1).set_prefix(prefix.clone()).send();
        connection.request("ListObjectsV2", 0, list).await?;
        Ok::<_, Failure>(format!("{} can be reached", connection.bucket))
    })
}

/// Returns enough of an access key ID to tell it from others.
fn masked(key_id: &str) -> String {
    let letters: Vec<char> = key_id.chars().collect();
    match letters.as_slice() {
        [first @ .., a, b, c, d] if first.len() >= 8 => {
            let kind: String = first.iter().take(4).collect();
            format!("{kind}…{a}{b}{c}{d}")
        }
        _ => "a key".to_owned(),
    }
}

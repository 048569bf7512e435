//! What a health check looks at before it writes.

use aws_sdk_s3::Client;

use super::S3StorageAdapter;
use super::error::Failure;
use crate::error::Result;
use crate::health::HealthCheck;

impl S3StorageAdapter {
    /// Credentials, region and bucket, in the order in which they are needed.
    pub(super) fn checks(&self, prefix: &str) -> Vec<HealthCheck> {
        let credentials = HealthCheck::run("credentials", || {
            let (key_id, source) = self.run("", |connection| async move { Ok(connection.service().await?.credentials().await?) })?;
            let source = source.unwrap_or_else(|| "the AWS configuration".to_owned());
            Ok(format!("{} from {source}", masked(&key_id)))
        });
        let is_signed = credentials.is_passed();
        let region = HealthCheck::run("region", || {
            self.run("", |connection| async move {
                let service = connection.service().await?;
                let endpoint = service.endpoint.as_deref().unwrap_or("AWS");
                Ok(format!("{} at {endpoint}", service.region))
            })
        });
        let mut checks = vec![credentials, region];
        if is_signed {
            checks.push(HealthCheck::run("bucket", || self.reach(prefix)));
        }
        checks
    }

    /// Asks for one key of the bucket: unlike that to a HEAD, the answer says
    /// what is wrong.
    fn reach(&self, prefix: &str) -> Result<String> {
        // A policy may allow just this prefix.
        let prefix = Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty());
        self.run("", |connection| async move {
            let list = |client: Client| client.list_objects_v2().bucket(&connection.bucket).max_keys(1).set_prefix(prefix.clone()).send();
            connection.request("ListObjectsV2", 0, list).await?;
            Ok::<_, Failure>(format!("{} can be reached", connection.bucket))
        })
    }
}

/// Enough of an access key id to tell it from others.
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

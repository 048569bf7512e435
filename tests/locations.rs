//! Locations as users write them, and the settings that determine their meaning.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::path::PathBuf;

use persist_host::{ErrorCode, PersistError, StorageBackend, StorageConfig, StorageLocation};
use proptest::prelude::*;

fn parse(text: &str) -> Result<StorageLocation, PersistError> {
    StorageLocation::parse(text)
}

#[test]
fn a_location_has_a_storage_and_a_key() {
    for (text, backend, key, shown) in [
        ("x.json.gz", StorageBackend::Local, "x.json.gz", "x.json.gz"),
        ("a/b/x.gz", StorageBackend::Local, "x.gz", "a/b/x.gz"),
        ("/srv/x.gz", StorageBackend::Local, "x.gz", "/srv/x.gz"),
        ("../up/x.gz", StorageBackend::Local, "x.gz", "../up/x.gz"),
        ("file:///srv/a%20b.gz", StorageBackend::Local, "a b.gz", "/srv/a b.gz"),
        ("file://localhost/srv/x.gz", StorageBackend::Local, "x.gz", "/srv/x.gz"),
        ("file:///srv/%C3%A9", StorageBackend::Local, "é", "/srv/é"),
        // A name with a colon is not a scheme.
        ("a:b", StorageBackend::Local, "a:b", "a:b"),
        ("1://b", StorageBackend::Local, "b", "1:/b"),
        ("s3://bucket/a/b.gz", StorageBackend::S3, "a/b.gz", "s3://bucket/a/b.gz"),
        ("s3://bucket//a b?c#d%20", StorageBackend::S3, "/a b?c#d%20", "s3://bucket//a b?c#d%20"),
        ("memory://a/b", StorageBackend::Memory, "a/b", "memory://a/b"),
    ] {
        let location = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((StorageBackend::from(&location), location.key()), (backend, key), "{text}");
        assert_eq!(location.to_string().replace("1://", "1:/"), shown, "{text}");
        assert_eq!(text.parse::<StorageLocation>().unwrap(), location);
    }
}

#[test]
fn an_invalid_location_is_explained() {
    for (text, says) in [
        ("", "it is empty"),
        ("/", "names a folder"),
        (".", "names a folder"),
        ("a/..", "names a folder"),
        ("a/", "names a folder"),
        ("a\0b", "contains a NUL"),
        ("-", "./-"),
        ("s3://", "a bucket and a key"),
        ("s3://bucket", "a bucket and a key"),
        ("s3://bucket/", "a bucket and a key"),
        ("s3:///key", "a bucket and a key"),
        ("memory://", "needs a key"),
        ("file://", "absolute path"),
        ("file://server/share", "absolute path"),
        ("file://localhostile/x", "absolute path"),
        ("file:///%", "two hexadecimal digits"),
        ("file:///%zz", "two hexadecimal digits"),
        ("file:///%+1", "two hexadecimal digits"),
        ("file:///%ff", "not UTF-8"),
        ("file:///%00", "contains a NUL"),
        ("gs://bucket/key", "'gs' is not known"),
        ("https://host/x", "'https' is not known"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(matches!(error, PersistError::Configuration(_)), "{text}");
        assert!(error.to_string().contains(says), "{text:?}: {error}");
        assert!(error.detail().hint.as_ref().is_some_and(|hint| hint.contains("s3://bucket/key")), "{text:?}");
    }
}

fn settings(variables: &[(&str, &str)]) -> Result<StorageConfig, PersistError> {
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    StorageConfig::from_variables(|name| variables.get(name).map(PathBuf::from))
}

#[test]
fn the_environment_sets_the_storage() {
    assert_eq!(settings(&[]).unwrap(), StorageConfig::local());
    assert_eq!(settings(&[("PERSIST_STORAGE", ""), ("PERSIST_S3_BUCKET", "")]).unwrap(), StorageConfig::local());
    let s3 = [
        ("PERSIST_STORAGE", "s3"),
        ("PERSIST_S3_BUCKET", "my-bucket"),
        ("PERSIST_S3_REGION", "eu-central-1"),
        ("PERSIST_S3_ENDPOINT", "http://127.0.0.1:9000"),
    ];
    let config = settings(&s3).unwrap();
    assert_eq!((config.backend, config.s3_bucket.as_deref()), (StorageBackend::S3, Some("my-bucket")));
    assert_eq!((config.s3_region.as_deref(), config.s3_endpoint.as_deref()), (Some("eu-central-1"), Some("http://127.0.0.1:9000")));
    assert_eq!(config.locate("a/x.gz").unwrap().to_string(), "s3://my-bucket/a/x.gz");
    // A scheme in the location wins.
    assert_eq!(config.locate("file:///srv/x.gz").unwrap().to_string(), "/srv/x.gz");
    assert_eq!(config.locate("s3://other/x.gz").unwrap().to_string(), "s3://other/x.gz");
    assert_eq!(settings(&[("PERSIST_STORAGE", "memory")]).unwrap().locate("a/x").unwrap().to_string(), "memory://a/x");
    let base = settings(&[("PERSIST_LOCAL_PATH", "/srv/agents")]).unwrap();
    assert_eq!(base.local_base_path.as_deref(), Some(std::path::Path::new("/srv/agents")));
    let StorageLocation::Local { root, key } = base.locate("a/x.gz").unwrap() else { panic!("it is local") };
    assert_eq!((root.as_path(), key.as_str()), (std::path::Path::new("/srv/agents"), "a/x.gz"));
}

#[test]
fn invalid_settings_are_explained() {
    for (variables, says) in [
        (&[("PERSIST_STORAGE", "S3")][..], "'S3' is not known"),
        (&[("PERSIST_S3_BUCKET", "a")], "name is not valid"),
        (&[("PERSIST_S3_BUCKET", "has space")], "name is not valid"),
        (&[("PERSIST_S3_ENDPOINT", "127.0.0.1:9000")], "not a URL"),
    ] {
        let error = settings(variables).expect_err(says);
        assert!(matches!(error, PersistError::Configuration(_)) && error.to_string().contains(says), "{error}");
        assert!(error.detail().hint.is_some(), "{error}");
    }
    // Without a bucket, only locations that need one are refused.
    let config = settings(&[("PERSIST_STORAGE", "s3")]).unwrap();
    assert!(config.locate("x.gz").expect_err("no bucket").to_string().contains("needs a bucket"));
    assert!(config.validate().is_err());
    assert_eq!(config.locate("s3://bucket/x.gz").unwrap().to_string(), "s3://bucket/x.gz");
    let error = StorageConfig::from_variables(|name| {
        use std::os::unix::ffi::OsStringExt;
        (name == "PERSIST_S3_BUCKET").then(|| PathBuf::from(std::ffi::OsString::from_vec(vec![0xff])))
    });
    assert!(error.expect_err("it is not text").to_string().contains("PERSIST_S3_BUCKET is not UTF-8"));
}

#[test]
fn keys_below_a_base_path_are_confined() {
    let base = settings(&[("PERSIST_LOCAL_PATH", "/srv/agents")]).unwrap();
    for key in ["../x", "/etc/passwd", "a/../../x", "a//x", ".", "", "a/"] {
        assert_eq!(base.locate(key).expect_err(key).code(), ErrorCode::InvalidKey, "{key}");
        assert_eq!(base.locate_followed(key).expect_err(key).code(), ErrorCode::InvalidKey, "{key}");
    }
}

#[test]
fn a_link_is_followed_except_for_deleting() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::os::unix::fs::symlink("target/x.gz", folder.path().join("link")).unwrap();
    std::os::unix::fs::symlink("link", folder.path().join("twice")).unwrap();
    std::os::unix::fs::symlink("circle", folder.path().join("circle")).unwrap();
    let config = StorageConfig::local();
    for link in ["link", "twice"] {
        assert_eq!(config.locate_followed(at(link)).unwrap().to_string(), at("target/x.gz"));
        assert_eq!(config.locate(at(link)).unwrap().to_string(), at(link));
    }
    assert_eq!(config.locate_followed(at("circle")).unwrap().to_string(), at("circle"));
    assert_eq!(config.locate_followed(at("plain")).unwrap().to_string(), at("plain"));
    // Below a base path, the storage follows links, and none leads out.
    let base = settings(&[("PERSIST_LOCAL_PATH", folder.path().to_str().unwrap())]).unwrap();
    assert_eq!(base.locate_followed("link").unwrap().to_string(), at("link"));
}

/// Root may follow its own links, but not a link that another user has planted. Without
/// root, the test only has its own links.
#[test]
fn a_link_of_another_user_in_a_shared_folder_is_not_written_through() {
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};
    const NOBODY: u32 = 65_534;
    let is_root = nix::unistd::geteuid().is_root();
    let folder = tempfile::tempdir().unwrap();
    let shared = folder.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let set_mode = |mode| std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(mode)).unwrap();
    symlink("../victim.gz", shared.join("link")).unwrap();
    // A chain whose first link belongs to the user.
    symlink("shared/link", folder.path().join("first")).unwrap();
    let victim = folder.path().join("shared/../victim.gz").display().to_string();
    let config = StorageConfig::local();
    let of_another = |owner: u32| {
        if is_root {
            lchown(shared.join("link"), Some(owner), Some(owner)).unwrap();
        }
        is_root && owner != 0
    };
    for (mode, owner) in [(0o1777, NOBODY), (0o777, NOBODY), (0o775, NOBODY), (0o1777, 0), (0o755, NOBODY), (0o755, 0)] {
        set_mode(mode);
        let is_refused = of_another(owner) && mode & 0o022 != 0;
        for path in ["shared/link", "first"].map(|name| folder.path().join(name)) {
            // Reading follows the link.
            assert_eq!(config.locate_followed(&path).unwrap().to_string(), victim);
            let location = config.locate_to_write(&path);
            if is_refused {
                let error = location.expect_err("it is another user's");
                assert_eq!(error.code(), ErrorCode::AccessDenied);
                assert!(error.location().unwrap().ends_with("shared/link") && error.detail().hint.is_some(), "{error:?}");
            } else {
                assert_eq!(location.unwrap().to_string(), victim, "{mode:o} {owner}");
            }
        }
    }
    // In another user's folder, the mode does not matter.
    if of_another(NOBODY) {
        lchown(&shared, Some(NOBODY), Some(NOBODY)).unwrap();
        assert_eq!(config.locate_to_write(shared.join("link")).expect_err("it is theirs").code(), ErrorCode::AccessDenied);
    }
}

proptest! {
    /// Any text is a location, or an error that contains the text. A location's text
    /// parses to the same location.
    #[test]
    fn any_text_is_a_location_or_refused(text in "\\PC{0,40}|(file|s3|memory|x)://\\PC{0,30}|[a-z/.%:]{0,20}") {
        match parse(&text) {
            Ok(location) => {
                prop_assert!(!location.key().is_empty());
                if StorageBackend::from(&location) != StorageBackend::Local {
                    prop_assert_eq!(parse(&location.to_string()).unwrap(), location);
                }
            }
            Err(error) => prop_assert!(error.location().is_some()),
        }
    }
}

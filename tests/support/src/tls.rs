//! A certificate for servers on this machine, created for one run.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

struct Certificate {
    pem: NamedTempFile,
    config: Arc<ServerConfig>,
}

static CERTIFICATE: LazyLock<Certificate> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let pem = NamedTempFile::new().expect("a file");
    std::fs::write(pem.path(), made.cert.pem()).expect("it is written");
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("the key is that of the certificate");
    Certificate { pem, config: Arc::new(config) }
});

/// Returns the file for `AWS_CA_BUNDLE`.
pub fn authority() -> &'static Path {
    CERTIFICATE.pem.path()
}

/// Makes this process trust [`authority`].
pub fn trust() {
    static TRUST: std::sync::Once = std::sync::Once::new();
    // SAFETY: all readers of the environment in this process use the standard library,
    // whose lock synchronises readers and writers.
    TRUST.call_once(|| unsafe { std::env::set_var("AWS_CA_BUNDLE", authority()) });
}

pub fn acceptor() -> TlsAcceptor {
    TlsAcceptor::from(Arc::clone(&CERTIFICATE.config))
}

//! TLS towards others: a receiver of notices.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{TlsError, failed};

/// Connects to those for whom certain authorities sign.
#[derive(Clone)]
pub struct Connector(TlsConnector);

impl Connector {
    /// For whom the authorities in this file sign, or those whom the host trusts.
    ///
    /// # Errors
    /// When there is no authority.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        let (certificates, place) = if let Some(path) = ca_file {
            let pem = fs::read(path).map_err(failed("read", path))?;
            let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
            (all.unwrap_or_default(), path.display().to_string())
        } else {
            let trusted = rustls_native_certs::load_native_certs();
            (trusted.certs, "this host's store".to_owned())
        };
        let (usable, _) = roots.add_parsable_certificates(certificates);
        if usable == 0 {
            return Err(TlsError::NoAuthority(place));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Connect)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Shakes hands with a peer that must prove to be `host`: a name, or an address.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.0.connect(name, stream).await
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector(…)")
    }
}

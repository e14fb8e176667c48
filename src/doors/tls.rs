//! TLS between Traefik and the auth listener, and towards receivers of notices. The only module that names rustls and
//! rcgen.
//!
//! An authority of the daemon's own signs for the listener and for nothing else. Its key is in the state
//! directory; its certificate is also where Traefik reads it. The listener's own key is made at each start and
//! is never on a disk.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::TlsStream as ClientStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName,
};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use client::Connector;

mod client;

const KEY_FILE: &str = "auth-ca.key";
const CERTIFICATE_FILE: &str = "auth-ca.pem";

/// What went wrong with the authority or its certificates.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of the authority's.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file that is no key.
    #[error(
        "{} holds no key that can be used; remove it, and a new authority is made at the next start",
        path.display()
    )]
    Key {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: rcgen::Error,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate for {0:?}")]
    Certificate(String, #[source] rcgen::Error),
    /// The TLS library refused it.
    #[error("cannot serve TLS: {0}")]
    Serve(tokio_rustls::rustls::Error),
    /// The TLS library refused it.
    #[error("cannot speak TLS: {0}")]
    Connect(tokio_rustls::rustls::Error),
    /// Nobody to trust.
    #[error(
        "no certificate of an authority in {0}; install ca-certificates, or name a file of certificates in PEM as `ca_file`"
    )]
    NoAuthority(String),
}

/// Who signs for the listener.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    /// The authority of this state directory; made where there is none.
    pub fn open(state: &Path) -> Result<Self, TlsError> {
        let (key_path, path) = (state.join(KEY_FILE), state.join(CERTIFICATE_FILE));
        let key = match fs::read_to_string(&key_path) {
            Ok(pem) => KeyPair::from_pem(&pem).map_err(|source| TlsError::Key {
                path: key_path.clone(),
                source,
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = KeyPair::generate().map_err(not_made("the authority"))?;
                write(&key_path, &key.serialize_pem(), 0o600)?;
                // One that another key signed is of no use.
                remove(&path)?;
                key
            }
            Err(error) => return Err(failed("read", &key_path)(error)),
        };
        let certificate = match fs::read_to_string(&path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = authority().self_signed(&key);
                let pem = made.map_err(not_made("the authority"))?.pem();
                write(&path, &pem, 0o644)?;
                pem
            }
            Err(error) => return Err(failed("read", &path)(error)),
        };
        Ok(Self {
            issuer: Issuer::new(authority(), key),
            certificate,
        })
    }

    /// Writes its certificate to where Traefik reads it; leaves a file alone that holds it already. Says whether
    /// anything changed.
    pub fn hand_out(&self, path: &Path) -> Result<bool, TlsError> {
        if fs::read(path).is_ok_and(|held| held == self.certificate.as_bytes()) {
            return Ok(false);
        }
        write(path, &self.certificate, 0o644).map(|()| true)
    }

    /// What serves these names and addresses.
    pub fn acceptor(&self, names: &[String]) -> Result<Acceptor, TlsError> {
        let subject = names.join(", ");
        let not_made = || not_made(&subject);
        let key = KeyPair::generate().map_err(not_made())?;
        let mut params = CertificateParams::new(names).map_err(not_made())?;
        params.distinguished_name = named("instanced ForwardAuth");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        lasts(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).map_err(not_made())?;
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(TlsError::Serve)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Acceptor(TlsAcceptor::from(Arc::new(config))))
    }
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("instanced ForwardAuth authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    lasts(&mut params);
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// It is between two processes that one operator runs, and is as good as the file that Traefik reads it from: an end
/// would only be a day on which the edge breaks.
fn lasts(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2126, 1, 1);
}

fn not_made(what: &str) -> impl FnOnce(rcgen::Error) -> TlsError {
    let what = what.to_owned();
    move |source| TlsError::Certificate(what, source)
}

/// As a whole, or not at all.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    remove(&draft)?;
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&draft, path));
    written.map_err(failed("write", path))
}

fn remove(path: &Path) -> Result<(), TlsError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::File {
        operation,
        path,
        source,
    }
}

/// Shakes hands over a connection, trusting whoever the file at `authority` names and nobody else: as Traefik does.
///
/// # Errors
/// Why Traefik would not.
pub async fn trusting<S>(stream: S, host: &str, authority: &Path) -> io::Result<ClientStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let pem = fs::read(authority)
        .map_err(|error| invalid(format!("{}: {error}", authority.display())))?;
    let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| invalid(error.to_string()))?;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// Serves TLS on accepted connections.
#[derive(Clone)]
pub struct Acceptor(TlsAcceptor);

impl Acceptor {
    /// Shakes hands; says whether the peer goes on in HTTP/2.
    pub async fn accept<S>(&self, stream: S) -> io::Result<(TlsStream<S>, bool)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = self.0.accept(stream).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((stream, is_http2))
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_authority_is_made_once_and_its_key_is_the_owner_s_alone() {
        let dir = tempfile::TempDir::new().unwrap();
        let first = Authority::open(dir.path()).unwrap();
        let second = Authority::open(dir.path()).unwrap();
        assert_eq!(first.certificate, second.certificate);
        let key = fs::metadata(dir.path().join(KEY_FILE)).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
        let handed = dir.path().join("for-traefik.pem");
        assert!(first.hand_out(&handed).unwrap());
        assert!(!second.hand_out(&handed).unwrap());
        assert_eq!(fs::read_to_string(handed).unwrap(), first.certificate);
        first
            .acceptor(&["127.0.0.1".to_owned(), "auth.localhost".to_owned()])
            .unwrap();
    }

    #[tokio::test]
    async fn who_trusts_the_authority_shakes_hands_and_nobody_else() {
        let dir = tempfile::TempDir::new().unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let handed = dir.path().join("for-traefik.pem");
        authority.hand_out(&handed).unwrap();
        let acceptor = authority.acceptor(&["127.0.0.1".to_owned()]).unwrap();
        let stranger = tempfile::TempDir::new().unwrap();
        let other = stranger.path().join("other.pem");
        let stranger = Authority::open(stranger.path()).unwrap();
        stranger.hand_out(&other).unwrap();
        for (host, file, expected) in [
            ("127.0.0.1", &handed, true),
            ("10.0.0.1", &handed, false),
            ("127.0.0.1", &other, false),
        ] {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            let acceptor = acceptor.clone();
            let serving = tokio::spawn(async move { acceptor.accept(theirs).await.map(drop) });
            let shaken = trusting(ours, host, file).await;
            assert_eq!(shaken.is_ok(), expected, "{host} {}", file.display());
            drop(shaken);
            let _ = serving.await.unwrap();
        }
    }

    #[test]
    fn a_key_that_was_lost_ends_its_certificate_too_and_one_that_is_none_is_told() {
        let dir = tempfile::TempDir::new().unwrap();
        let first = Authority::open(dir.path()).unwrap().certificate;
        fs::remove_file(dir.path().join(KEY_FILE)).unwrap();
        assert_ne!(Authority::open(dir.path()).unwrap().certificate, first);
        fs::write(dir.path().join(KEY_FILE), "no key").unwrap();
        let Err(error) = Authority::open(dir.path()) else {
            panic!("that is no key");
        };
        assert!(error.to_string().contains(KEY_FILE), "{error}");
    }
}

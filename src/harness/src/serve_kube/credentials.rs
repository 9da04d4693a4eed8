//! Keys that live as long as the process.

use super::ServeError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

/// The first line of every kubeconfig that we write: such a file may be overwritten.
const MARK: &str = "# Written by dryfit for one run.";

pub(super) struct Credentials {
    pub(super) token: String,
    authority: String,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Credentials {
    pub(super) fn make(address: IpAddr) -> Result<Credentials, rcgen::Error> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        authority.distinguished_name.push(DnType::CommonName, "dryfit embedded Kubernetes");
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let names = [address.to_string(), "127.0.0.1".to_owned(), "localhost".to_owned(), "kubernetes.default.svc".to_owned()];
        let mut server = CertificateParams::new(names)?;
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        let key = KeyPair::generate()?;
        let server = server.signed_by(&key, &authority)?;
        // As unguessable as a fresh private key: the system's own generator made it.
        let token = Sha256::digest(KeyPair::generate()?.serialize_der()).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Credentials {
            token,
            authority: authority.as_ref().pem(),
            certificate: server.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        })
    }

    /// The authority, as PEM.
    pub(super) fn authority(&self) -> String {
        self.authority.clone()
    }

    /// HTTP/2 and HTTP/1.1 over TLS.
    pub(super) fn tls(&self) -> Result<rustls::ServerConfig, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// One cluster, one user, readable by us alone. Somebody's own file stays.
    pub(super) fn write_kubeconfig(&self, path: &Path, url: &str) -> Result<(), ServeError> {
        if std::fs::read_to_string(path).is_ok_and(|text| !text.is_empty() && !text.starts_with(MARK)) {
            return Err(ServeError::NotOurs(path.to_owned()));
        }
        let authority = STANDARD.encode(&self.authority);
        let text = format!(
            "{MARK}\napiVersion: v1\nkind: Config\ncurrent-context: dryfit\nclusters:\n- name: dryfit\n  cluster:\n    server: {url}\n    \
             certificate-authority-data: {authority}\nusers:\n- name: admin\n  user:\n    token: {}\ncontexts:\n- name: dryfit\n  context:\n    \
             cluster: dryfit\n    user: admin\n",
            self.token
        );
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| ServeError::Write(path.to_owned(), error))
    }
}

//! Keys, certificates and tokens of a control plane that lives for one run.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use sha2::{Digest, Sha256};

use super::Error;

/// Names and addresses under which the API server is reached; 10.100.0.1 is the first of EKS's service range.
const SERVER_NAMES: [&str; 6] = ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "10.100.0.1"];

pub(super) struct Credentials {
    pub(super) ca_file: PathBuf,
    pub(super) ca_der: Vec<u8>,
    pub(super) cert_file: PathBuf,
    pub(super) key_file: PathBuf,
    /// Signs service-account tokens.
    pub(super) service_account_key: PathBuf,
    /// Verifies them; the server does not take it from the private key when that is written as PKCS #8.
    pub(super) service_account_public_key: PathBuf,
    pub(super) token_file: PathBuf,
    pub(super) admin_token: String,
}

/// Makes everything below `folder`, readable by us alone.
pub(super) fn make(folder: &Path) -> Result<Credentials, Error> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    authority.distinguished_name.push(DnType::CommonName, "dryfit local control plane");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let mut server = CertificateParams::new(SERVER_NAMES.map(str::to_owned))?;
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    let server_key = KeyPair::generate()?;
    let server = server.signed_by(&server_key, &authority)?;

    // A token is as unguessable as a fresh private key: the system's own generator made it.
    let token = || Ok::<_, Error>(Sha256::digest(KeyPair::generate()?.serialize_der()).iter().map(|byte| format!("{byte:02x}")).collect());
    let admin_token: String = token()?;
    let account_key = KeyPair::generate()?;
    let file = |name: &str, content: &str| write_private(folder.join(name), content);
    Ok(Credentials {
        ca_file: file("ca.crt", &authority.as_ref().pem())?,
        ca_der: authority.as_ref().der().to_vec(),
        cert_file: file("server.crt", &server.pem())?,
        key_file: file("server.key", &server_key.serialize_pem())?,
        service_account_key: file("service-account.key", &account_key.serialize_pem())?,
        service_account_public_key: file("service-account.pub", &account_key.public_key_pem())?,
        token_file: file("tokens.csv", &format!("{admin_token},admin,admin,system:masters\n"))?,
        admin_token,
    })
}

/// A kubeconfig with one cluster and one user. Strings are written as JSON strings, which YAML takes as they are.
pub(super) fn kubeconfig(path: PathBuf, url: &str, credentials: &Credentials) -> Result<PathBuf, Error> {
    let authority = serde_json::Value::from(credentials.ca_file.to_string_lossy());
    let token = &credentials.admin_token;
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: dryfit\nclusters:\n- name: dryfit\n  cluster:\n    server: {url}\n    \
         certificate-authority: {authority}\nusers:\n- name: admin\n  user:\n    token: {token}\ncontexts:\n- name: dryfit\n  \
         context:\n    cluster: dryfit\n    user: admin\n"
    );
    write_private(path, &text)
}

pub(super) fn write_private(path: PathBuf, content: &str) -> Result<PathBuf, Error> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&path).and_then(|mut file| file.write_all(content.as_bytes()));
    written.map_err(Error::io(format!("write {}", path.display())))?;
    Ok(path)
}

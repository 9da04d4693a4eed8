//! Asks a running cloud's control, from another process.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("{0} is no address of a cloud; write http://HOST:PORT")]
    Address(String),
    #[error("no cloud answers at {0}: {1}; start one with dryfit cloud")]
    Unreachable(String, #[source] std::io::Error),
    #[error("the answer of {0} is no HTTP")]
    Answer(String),
}

/// An answer.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    pub body: String,
}

/// How long the cloud may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends one request to `http://HOST:PORT` and reads the whole answer.
pub fn ask(cloud: &str, method: &str, path: &str, body: &str, token: Option<&str>) -> Result<Answered, AskError> {
    let host = cloud.strip_prefix("http://").unwrap_or(cloud).trim_end_matches('/');
    let wrong = || AskError::Address(cloud.to_owned());
    let address = host.to_socket_addrs().map_err(|_| wrong())?.next().ok_or_else(wrong)?;
    let unreachable = |error| AskError::Unreachable(cloud.to_owned(), error);
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(unreachable)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(unreachable)?;
    let token = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/yaml\r\n{token}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).map_err(unreachable)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(unreachable)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| AskError::Answer(cloud.to_owned()))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| AskError::Answer(cloud.to_owned()))?;
    Ok(Answered { status, body: body.to_owned() })
}

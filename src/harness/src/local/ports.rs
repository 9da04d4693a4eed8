//! Free loopback ports.

use std::net::TcpListener;

use super::Error;

/// `N` different ports of 127.0.0.1 that nobody listened on a moment ago. Somebody may take one before its user does; whoever starts
/// a component tries again then.
pub(super) fn free<const N: usize>() -> Result<[u16; N], Error> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(Error::io("find a free loopback port"))?;
        *port = listener.local_addr().map_err(Error::io("read a loopback port"))?.port();
        held.push(listener); // All are held until all are chosen: so they differ.
    }
    Ok(ports)
}

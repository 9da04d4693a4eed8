//! `dryfit cloud`: the fake AWS on a loopback port, in real time.

mod ask;
mod control;
mod iam;

pub use ask::{Answered, AskError, ask};
pub use fake_ec2::services::access::refusal::{Decoded, decode};
pub use fake_ec2::state::IamMode;

use crate::pump;
use crate::trace::Trace;
use crate::wires;
use ambient::Clock;
use std::io::Write as _;
use std::net::SocketAddr;

#[derive(Clone, Debug)]
pub struct CloudOptions {
    pub listen: SocketAddr,
    pub region: String,
    pub seed: u64,
    pub iam: fake_ec2::state::IamMode,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {0}: {1}; choose another port, or port 0 for a free one")]
    Listen(SocketAddr, #[source] std::io::Error),
    #[error("the server ended: {0}")]
    Ended(#[source] std::io::Error),
    #[error("no runtime: {0}")]
    Runtime(#[source] std::io::Error),
}

/// Serves until a signal ends the process. Prints the address when requests are welcome.
pub fn serve(options: &CloudOptions) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Runtime)?;
    runtime.block_on(async {
        let (listener, address) = wires::listen(options.listen).await.map_err(|error| ServeError::Listen(options.listen, error))?;
        let clock = Clock::machine();
        let config = fake_ec2::Config {
            seed: options.seed,
            region: options.region.clone(),
            world: fake_ec2::state::Settings { queue_url_base: Some(format!("http://{address}")), iam: options.iam, ..Default::default() },
            ..Default::default()
        };
        let region = options.region.clone();
        let beside = move |line, request| control::answer(line, &region, request);
        let trace = Trace::new(clock.now(), false);
        let line = pump::start(fake_ec2::Cloud::new(config), clock, Some(trace.tap(crate::trace::Wire::Aws)), |_| {});
        println!("listening on http://{address}");
        // Whoever starts us reads the line through a pipe.
        let _ = std::io::stdout().flush();
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => Ok(()),
            ended = wires::serve_beside(listener, line, beside) => ended.map_err(ServeError::Ended),
        }
    })
}

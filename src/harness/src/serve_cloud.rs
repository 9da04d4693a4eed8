//! `dryfit cloud`: the fake AWS on a loopback port, in real time.

mod ask;
mod control;
mod iam;
mod keeper;

pub use ask::{Answered, AskError, ask};
pub use fake_ec2::services::access::refusal::{Decoded, decode};
pub use fake_ec2::state::IamMode;
pub use keeper::JournalError;

use crate::pump;
use crate::wires;
use ambient::Clock;
use keeper::Keeper;
use std::io::Write as _;
use std::net::SocketAddr;

#[derive(Clone, Debug)]
pub struct CloudOptions {
    pub listen: SocketAddr,
    pub region: String,
    pub seed: u64,
    pub iam: fake_ec2::state::IamMode,
    /// Asked of whoever uses the control; needed where the address is not loopback.
    pub token: Option<String>,
    /// Where the state is kept, from which the cloud comes back.
    pub state: Option<std::path::PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {0}: {1}; choose another port, or port 0 for a free one")]
    Listen(SocketAddr, #[source] std::io::Error),
    #[error("the server ended: {0}")]
    Ended(#[source] std::io::Error),
    #[error(transparent)]
    State(#[from] JournalError),
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
        let mut keeper = Keeper::new(&options.region, options.token.as_deref());
        let mut cloud = fake_ec2::Cloud::new(config);
        if let Some(path) = &options.state {
            let start = serde_json::json!({"seed": options.seed, "region": options.region, "iam": options.iam});
            keeper.keep(path, &start, &mut cloud)?;
        }
        let line = pump::start(cloud, clock, keeper.tap(), |_| {});
        let beside = move |line, request| control::answer(line, &keeper, request);
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

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
use std::path::Path;

#[derive(Clone, Debug)]
pub struct CloudOptions {
    pub listen: SocketAddr,
    pub region: String,
    pub seed: u64,
    pub iam: fake_ec2::state::IamMode,
    /// What Spot costs and how it moves, in the words of a scenario's `given.aws.spot`.
    pub spot: Option<String>,
    /// Types, offerings and prices of the region, from a file.
    pub catalogue: Option<std::path::PathBuf>,
    /// Asked of whoever uses the control; needed where the address is not loopback.
    pub token: Option<String>,
    /// Roots' keys, `ID:SECRET`, or `ID:SECRET@ACCOUNT` of another account: with one signatures are checked, and keys that nobody gave out
    /// are refused.
    pub keys: Vec<String>,
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
    #[error("{0}")]
    Said(String),
    #[error("print: {0}")]
    Print(#[source] std::io::Error),
    #[error("no runtime: {0}")]
    Runtime(#[source] std::io::Error),
}

/// A cloud is in a region that there is, or in that of its catalogue's file, which is compared with it later.
fn known_region(options: &CloudOptions) -> Result<(), ServeError> {
    let regions = fake_ec2::catalogue::regions();
    if options.catalogue.is_some() || regions.contains_key(options.region.as_str()) {
        return Ok(());
    }
    let known: Vec<&str> = regions.keys().copied().collect();
    Err(ServeError::Said(format!("there is no region {}; known: {}", options.region, known.join(", "))))
}

/// Serves until a signal ends the process. Prints the address when requests are welcome.
pub fn serve(options: &CloudOptions) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Runtime)?;
    runtime.block_on(async {
        known_region(options)?;
        let (listener, address) = wires::listen(options.listen).await.map_err(|error| ServeError::Listen(options.listen, error))?;
        let clock = Clock::machine();
        let mut config = fake_ec2::Config {
            seed: options.seed,
            region: options.region.clone(),
            world: fake_ec2::state::Settings { queue_url_base: Some(format!("http://{address}")), iam: options.iam, ..Default::default() },
            ..Default::default()
        };
        for key in &options.keys {
            let (id, key) = root_key(key, &config.account)?;
            config.keys.insert(id, key);
            config.verify_signatures = true;
        }
        if let Some(path) = &options.catalogue {
            let said = |error: crate::catalogue::CatalogueError| ServeError::Said(error.to_string());
            let file = crate::catalogue::read(path).map_err(said)?;
            crate::catalogue::of_region(&file, &options.region, path).map_err(said)?.apply(&mut config.world);
        }
        let spot = match &options.spot {
            Some(words) => {
                let read = crate::scenario::spot::read("--spot", words, &options.region, crate::scenario::spot::Traces::In(Path::new(".")));
                read.map_err(|mistakes| ServeError::Said(mistakes.render(false)))?
            }
            None => Default::default(),
        };
        let mut keeper = Keeper::new(&options.region, options.token.as_deref());
        let mut cloud = fake_ec2::Cloud::new(config);
        let begin = |cloud: &mut fake_ec2::Cloud, began| drop(control::set_spot(cloud, began, spot));
        if let Some(path) = &options.state {
            let mut start = serde_json::json!({"seed": options.seed, "region": options.region, "iam": options.iam});
            if let Some(words) = &options.spot {
                start["spot"] = words.clone().into();
            }
            if let Some(path) = &options.catalogue {
                start["catalogue"] = path.display().to_string().into();
            }
            keeper.keep(path, &start, clock.now(), &mut cloud, begin)?;
        } else {
            begin(&mut cloud, clock.now());
        }
        let room = keeper.clone();
        let line = pump::start(cloud, clock, keeper.tap(), move |cloud| room.make_room(cloud));
        let last = keeper.clone();
        let beside = move |line, request| control::answer(line, &keeper, request);
        // Whoever starts us reads the line through a pipe, which may be closed by now: the cloud serves all the same.
        let mut out = std::io::stdout();
        match writeln!(out, "listening on http://{address}").and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(ServeError::Print(error)),
            _ => {}
        }
        let ended = tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => Ok(()),
            ended = wires::serve_beside(listener, line, beside) => ended.map_err(ServeError::Ended),
        };
        last.end();
        ended
    })
}

/// Reads `ID:SECRET` or `ID:SECRET@ACCOUNT`.
fn root_key(text: &str, home: &str) -> Result<(String, fake_ec2::config::AccessKey), ServeError> {
    let said = |why: &str| ServeError::Said(format!("--key {why}; write ID:SECRET, or ID:SECRET@ACCOUNT with its twelve digits"));
    let (id, rest) = text.split_once(':').filter(|(id, _)| !id.is_empty()).ok_or_else(|| said("has no secret"))?;
    let (secret, account) = rest.rsplit_once('@').unwrap_or((rest, home));
    if !fake_ec2::state::is_account(account) {
        return Err(said("is of no account"));
    }
    let principal = format!("arn:aws:iam::{account}:root");
    let key = fake_ec2::config::AccessKey { secret: secret.to_owned(), session_token: None, principal, user_id: account.to_owned() };
    Ok((id.to_owned(), key))
}

//! Our controller as it is run in a world: started, and started anew a while after it crashed, as a Deployment would.

use crate::pump::Line;
use crate::scenario::Scenario;
use crate::{furnish, wires};
use ambient::{Clock, Entropy};
use controller::{Controller, CrashPoint, Handle, Settings, Stopped};
use jiff::{SignedDuration, Timestamp};
use std::sync::{Arc, Mutex, PoisonError};

use super::WorldError;

/// From a crash until the next process works: the container is restarted and the lease taken over.
const RESTART: SignedDuration = SignedDuration::from_secs(2);

/// Everything that a new process of the controller is made from.
#[derive(Clone)]
pub struct Recipe {
    pub client: kube::Client,
    pub aws: Line<fake_ec2::Cloud>,
    /// Where the fake listens; `None`: in memory.
    pub url: Option<String>,
    pub region: String,
    pub clock: Clock,
    pub entropy: Entropy,
    pub controller: Settings,
    pub cloud: cloud::Settings,
}

impl Recipe {
    /// Both in one: `settings` of the controller as the scenario has them, and the cloud adapter's beside.
    pub fn cloud_settings(scenario: &Scenario, endpoint: String, authority: String) -> cloud::Settings {
        let mut settings = cloud::Settings::new(&scenario.given.aws.cluster);
        settings.cluster_endpoint = Some(endpoint);
        settings.cluster_ca = Some(authority);
        settings.interruption_queue = scenario.given.aws.queue_name();
        settings.cluster_dns_ip = furnish::CLUSTER_DNS.parse().ok();
        settings
    }

    /// The `life`-th process: its own memory, its own chance, no crash any more after the first.
    fn make(&self, life: u64) -> Result<(Controller, Handle), WorldError> {
        let entropy = if life == 0 { self.entropy.clone() } else { self.entropy.child(&format!("life-{life}")) };
        let cloud = self.adapter(&entropy)?;
        let mut settings = self.controller.clone();
        if life > 0 {
            settings.crash_at = None;
        }
        Ok(Controller::new(self.client.clone(), Arc::new(cloud), self.clock.clone(), entropy.child("controller"), settings))
    }

    /// The adapter: over memory in virtual time, over the loopback socket in real time.
    fn adapter(&self, entropy: &Entropy) -> Result<cloud::AwsCloud, WorldError> {
        let entropy = entropy.child("cloud");
        let Some(url) = &self.url else {
            let http = wires::aws_client(self.aws.clone());
            return Ok(cloud::AwsCloud::simulated(self.cloud.clone(), &self.region, http, self.clock.clone(), &entropy));
        };
        // Never somebody's real credentials: the address is loopback, the key is nobody's.
        let key = aws_credential_types::Credentials::new("AKIADRYFITCONTROLLER", "dryfit", None, None, "dryfit");
        let config = aws_types::SdkConfig::builder()
            .region(aws_types::region::Region::new(self.region.clone()))
            .endpoint_url(url)
            .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(key))
            .build();
        let http = aws_smithy_http_client::Builder::new().build_http();
        cloud::AwsCloud::from_config(self.cloud.clone(), &config, http, self.clock.clone(), &entropy)
            .map_err(|error| WorldError::Cloud(error.to_string()))
    }
}

/// The controller that runs at present.
#[derive(Clone)]
pub struct Operator(Arc<Mutex<Present>>);

struct Present {
    handle: Handle,
    /// The effect's number at which it crashed, until the next process runs.
    crashed: Option<u64>,
    crashes: u64,
    /// Why no further process runs.
    dead: Option<String>,
}

impl Operator {
    /// The operator, and the task that keeps the controller running. The task ends when the controller was asked to stop.
    pub fn start(recipe: Recipe) -> Result<(Operator, impl Future<Output = ()> + 'static), WorldError> {
        let (first, handle) = recipe.make(0)?;
        let operator = Operator(Arc::new(Mutex::new(Present { handle, crashed: None, crashes: 0, dead: None })));
        let present = operator.0.clone();
        let task = async move {
            let mut controller = first;
            let mut life = 0;
            while let Stopped::Crashed(number) = controller.run().await {
                life += 1;
                {
                    let mut present = present.lock().unwrap_or_else(PoisonError::into_inner);
                    present.crashed = Some(number);
                    present.crashes += 1;
                }
                recipe.clock.sleep(RESTART).await;
                let made = recipe.make(life);
                let mut present = present.lock().unwrap_or_else(PoisonError::into_inner);
                let (next, handle) = match made {
                    Ok(made) => made,
                    Err(error) => {
                        present.dead = Some(error.to_string());
                        return;
                    }
                };
                (present.handle, present.crashed) = (handle, None);
                controller = next;
            }
        };
        Ok((operator, task))
    }

    fn look<T>(&self, look: impl FnOnce(&Present) -> T) -> T {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn unsettled(&self) -> Vec<String> {
        self.look(|present| match (present.crashed, &present.dead) {
            (_, Some(error)) => vec![format!("the controller crashed and cannot be started again: {error}")],
            (Some(number), _) => vec![format!("the controller is started again after its crash at effect {number}")],
            (None, _) => present.handle.unsettled(),
        })
    }

    pub fn handle(&self) -> Handle {
        self.look(|present| present.handle.clone())
    }

    pub fn upcoming(&self) -> Vec<(Timestamp, String)> {
        self.look(|present| if present.crashed.is_some() { Vec::new() } else { present.handle.upcoming() })
    }

    /// How often it crashed.
    pub fn crashes(&self) -> u64 {
        self.look(|present| present.crashes)
    }
}

/// `before:17`, `after:17`.
pub fn crash_point(text: &str) -> Result<CrashPoint, String> {
    let help = || format!("{text:?} is no crash point: write before:NUMBER or after:NUMBER of an effect, from 1 on");
    let (side, number) = text.split_once(':').ok_or_else(help)?;
    let number: u64 = number.parse().ok().filter(|number| *number > 0).ok_or_else(help)?;
    match side {
        "before" => Ok(CrashPoint::Before(number)),
        "after" => Ok(CrashPoint::After(number)),
        _ => Err(help()),
    }
}

/// The point as [`crash_point`] reads it.
pub fn crash_text(point: CrashPoint) -> String {
    match point {
        CrashPoint::Before(number) => format!("before:{number}"),
        CrashPoint::After(number) => format!("after:{number}"),
    }
}

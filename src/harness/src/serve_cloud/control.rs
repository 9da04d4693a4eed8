//! `/_dryfit/…` of `dryfit cloud`: what a scenario says of its cloud, for a cloud that runs without one.
//!
//! Faults in a scenario's words: `POST` takes one fault or a list of them as YAML or JSON, reads all of it before anything is done, and answers what was done.
//! `GET` lists what was put in force. A selector's nodes are the machines that run: their pool is the tag `karpenter.sh/nodepool`.

use super::iam;
use super::keeper::Keeper;
use crate::pump::{Line, Request, Response};
use crate::scenario::fault::{self, Fault, What};
use crate::scenario::spot::{self, Traces};
use crate::scenario::{Mistake, Mistakes, Nodes};
use crate::world::inject;
use bytes::Bytes;
use fake_ec2::Cloud;
use fake_ec2::state::{Incident, Machine, Phase, Rule};
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use vocabulary::labels;

/// All that is not AWS's lies under this.
const PREFIX: &str = "/_dryfit/";
/// What there is, for those who ask for something else.
const PATHS: &str =
    "/_dryfit/faults, /_dryfit/spot, /_dryfit/iam, /_dryfit/denials, /_dryfit/deliveries, /_dryfit/machines, /_dryfit/openapi.json";
/// The description of this interface.
const OPENAPI: &str = include_str!("openapi.json");

/// Answers a request for the control, or gives it back for the cloud.
pub fn answer(line: Line<Cloud>, keeper: &Keeper, request: Request) -> Result<impl Future<Output = Response> + Send + use<>, Box<Request>> {
    let Some(path) = request.uri().path().strip_prefix(PREFIX).map(str::to_owned) else { return Err(Box::new(request)) };
    let keeper = keeper.clone();
    Ok(async move {
        if !keeper.admits(&request) {
            return reply(StatusCode::UNAUTHORIZED, &json!({"error": "this cloud's control needs its token: authorization: Bearer TOKEN"}));
        }
        let text = String::from_utf8_lossy(request.body()).into_owned();
        match (path.as_str(), request.method()) {
            ("faults", &Method::GET) => told(line.visit(|cloud, now| Ok(list(cloud, now))).await),
            ("faults", &Method::POST) => match fault::read("the request", &text, &keeper.region) {
                Ok(faults) => {
                    let kept = move |cloud: &mut Cloud, now| {
                        keeper.note(now, &request);
                        inject_all(cloud, now, &faults)
                    };
                    told(line.visit(kept).await)
                }
                Err(mistakes) => reply(StatusCode::BAD_REQUEST, &refusal(&mistakes)),
            },
            ("iam", &Method::GET) => told(line.visit(|cloud, _| Ok(iam::shown(cloud))).await),
            ("iam", &Method::PUT) => match iam::read(&text) {
                Ok(change) => {
                    let kept = move |cloud: &mut Cloud, now| {
                        keeper.note(now, &request);
                        Ok(iam::change(cloud, change))
                    };
                    told(line.visit(kept).await)
                }
                Err(why) => reply(StatusCode::BAD_REQUEST, &json!({ "error": why })),
            },
            ("spot", &Method::GET) => {
                let types = request.uri().query().and_then(|query| query.strip_prefix("types=")).unwrap_or_default();
                let types: Vec<String> = types.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
                told(line.visit(move |cloud, now| Ok(spot_prices(cloud, &types, now))).await)
            }
            ("spot", &Method::PUT) => match spot::read("the request", &text, &keeper.region, Traces::Said) {
                Ok(spot) => {
                    let kept = move |cloud: &mut Cloud, now| {
                        keeper.note(now, &request);
                        Ok(set_spot(cloud, now, spot))
                    };
                    told(line.visit(kept).await)
                }
                Err(mistakes) => reply(StatusCode::BAD_REQUEST, &refusal(&mistakes)),
            },
            ("deliveries", &Method::GET) => told(line.visit(|cloud, _| Ok(deliveries(cloud))).await),
            ("denials", &Method::GET) => {
                let about = request.uri().query().and_then(|query| query.strip_prefix("request=")).map(str::to_owned);
                told(line.visit(move |cloud, _| Ok(iam::denials(cloud, about.as_deref()))).await)
            }
            ("machines", &Method::GET) => told(line.visit(|cloud, _| Ok(machines(cloud))).await),
            ("openapi.json", &Method::GET) => match serde_json::from_str(OPENAPI) {
                Ok(description) => reply(StatusCode::OK, &description),
                Err(_) => reply(StatusCode::INTERNAL_SERVER_ERROR, &json!({"error": "the description is no JSON"})),
            },
            ("faults" | "spot" | "iam" | "denials" | "deliveries" | "machines" | "openapi.json", _) => {
                reply(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": format!("{path} does not take {}", request.method())}))
            }
            _ => reply(StatusCode::NOT_FOUND, &json!({"error": format!("there is nothing at {PREFIX}{path}; there are {PATHS}")})),
        }
    })
}

/// Does once more what a control request did, in a cloud that is replayed.
pub(super) fn replay(cloud: &mut Cloud, now: Timestamp, region: &str, request: &Request) {
    let text = String::from_utf8_lossy(request.body()).into_owned();
    match request.uri().path().strip_prefix(PREFIX) {
        // What failed then fails now, and did nothing either time.
        Some("faults") => _ = fault::read("the request", &text, region).map(|faults| inject_all(cloud, now, &faults)),
        Some("spot") => _ = spot::read("the request", &text, region, Traces::Said).map(|spot| set_spot(cloud, now, spot)),
        Some("iam") => _ = iam::read(&text).map(|change| iam::change(cloud, change)),
        _ => {}
    }
}

/// Whether a request is for the control.
pub(super) fn is_control(request: &Request) -> bool {
    request.uri().path().starts_with(PREFIX)
}

fn machines(cloud: &Cloud) -> Value {
    let shown = cloud.state().machines().into_iter().map(|machine| {
        json!({
            "id": machine.id, "type": machine.instance_type, "zone": machine.zone, "capacity": machine.market.name(),
            "state": machine.phase.name(), "name": machine.private_dns_name, "tags": machine.tags,
        })
    });
    json!({ "machines": shown.collect::<Vec<_>>() })
}

fn spot_prices(cloud: &Cloud, types: &[String], now: Timestamp) -> Value {
    let prices = cloud.state().spot_prices(types, now);
    let shown = prices.into_iter().map(|(name, zones)| {
        let zones: serde_json::Map<String, Value> = zones.into_iter().map(|(zone, price)| (zone, price.to_decimal().into())).collect();
        (name, Value::Object(zones))
    });
    let market = cloud.state().spot_market();
    let moves = market.moves.map(|moves| json!({"swingPermille": moves.swing, "every": format!("{:#}", moves.every)}));
    json!({"moves": moves, "tracedPools": market.trace.as_ref().map(|trace| trace.pools()), "prices": shown.collect::<serde_json::Map<_, _>>()})
}

pub(super) fn set_spot(cloud: &mut Cloud, now: Timestamp, spot: spot::Spot) -> Value {
    let state = cloud.state_mut();
    let set = spot.prices.len();
    spot.set(state, now);
    let market = state.spot_market();
    json!({"set": set, "moving": market.moves.is_some(), "tracedPools": market.trace.as_ref().map(|trace| trace.pools())})
}

fn deliveries(cloud: &Cloud) -> Value {
    let shown = cloud.state().deliveries().into_iter().map(|(rule, target, counts)| {
        json!({"rule": rule, "target": target, "invocations": counts.delivered, "failedInvocations": counts.failed, "why": counts.why})
    });
    json!({ "deliveries": shown.collect::<Vec<_>>() })
}

fn told(done: Result<Result<Value, Mistake>, crate::pump::Ended>) -> Response {
    match done {
        Ok(Ok(value)) => reply(StatusCode::OK, &value),
        Ok(Err(mistake)) => reply(StatusCode::BAD_REQUEST, &refusal(&Mistakes(vec![mistake]))),
        Err(ended) => reply(StatusCode::SERVICE_UNAVAILABLE, &json!({"error": ended.to_string()})),
    }
}

fn refusal(mistakes: &Mistakes) -> Value {
    json!({"error": mistakes.to_string(), "shown": mistakes.render(false)})
}

fn reply(status: StatusCode, value: &Value) -> Response {
    let mut response = http::Response::new(Bytes::from(format!("{value}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

fn list(cloud: &Cloud, now: Timestamp) -> Value {
    let state = cloud.state();
    let shown = state.rules().map(|(name, until)| {
        json!({
            "name": name, "inForce": until.is_none_or(|until| now < until), "until": until.map(|until| until.to_string()),
            "met": state.rule_met(name), "hits": state.rule_hits(name),
        })
    });
    json!({ "faults": shown.collect::<Vec<_>>() })
}

fn inject_all(cloud: &mut Cloud, now: Timestamp, faults: &[Fault]) -> Result<Value, Mistake> {
    let mut done = Vec::new();
    for fault in faults {
        done.push(one(cloud, now, fault)?);
    }
    Ok(json!({ "done": done }))
}

fn one(cloud: &mut Cloud, now: Timestamp, fault: &Fault) -> Result<Value, Mistake> {
    let wrong = |why: String| fault.site.mistake(why, None);
    match &fault.what {
        What::Force { force, lasting, times } => {
            let name = format!("{} {}", force.word(), cloud.state().rules().count() + 1);
            let until = lasting.map(|lasting| now.saturating_add(lasting).unwrap_or(Timestamp::MAX));
            let rule = Rule { name: name.clone(), effect: inject::effect(force), count: *times, since: Some(now), until };
            inject::inject_rule(cloud, fault.account.as_deref(), rule).map_err(wrong)?;
            Ok(json!({"inForce": name, "until": until.map(|until| until.to_string())}))
        }
        What::Blow { blow, nodes } => {
            let instances = nodes.take(chosen(cloud, nodes)).map_err(wrong)?;
            let shown = json!({"instances": instances});
            cloud.state_mut().befall(now, &inject::incident(*blow, instances)).map_err(|why| wrong(why.to_string()))?;
            Ok(shown)
        }
        What::NodeProblem { .. } => Err(wrong("nodes have problems in scenarios only: a cloud has machines".to_owned())),
        What::Message { queue, body, times } => {
            let queue =
                queue.clone().ok_or_else(|| fault.site.mistake("the queue is not named", "message: {queue: NAME, …}".to_owned()))?;
            for _ in 0..*times {
                let incident = Incident::Message { queue: queue.clone(), body: inject::body(body) };
                cloud.state_mut().befall(now, &incident).map_err(|why| wrong(why.to_string()))?;
            }
            Ok(json!({"queue": queue, "messages": times}))
        }
        What::ImageRelease => {
            cloud.state_mut().befall(now, &Incident::ImageRelease).map_err(|why| wrong(why.to_string()))?;
            Ok(json!({"released": "images"}))
        }
        What::Change(change) => {
            let region = cloud.config().region.clone();
            change.make(cloud.state_mut(), now, &region).map_err(wrong)?;
            Ok(json!({"changed": true}))
        }
        What::Lift(words) => {
            let mut lifted = Vec::new();
            for word in words {
                let of = |name: &str| name.split(' ').next() == Some(word);
                let names: Vec<String> = cloud
                    .state()
                    .rules()
                    .filter(|(name, until)| of(name) && until.is_none_or(|until| now < until))
                    .map(|(name, _)| name.to_owned())
                    .collect();
                if names.is_empty() {
                    return Err(wrong(format!("no {word} is in force that could be lifted")));
                }
                names.iter().for_each(|name| _ = cloud.state_mut().end_rule(name, now));
                lifted.extend(names);
            }
            Ok(json!({ "lifted": lifted }))
        }
    }
}

/// Machines that a selector means, in the order of the names that their nodes would have.
fn chosen(cloud: &Cloud, nodes: &Nodes) -> Vec<String> {
    let meant = |machine: &Machine| {
        let pool = machine.tags.get(labels::NODEPOOL).map(String::as_str);
        matches!(machine.phase, Phase::Pending | Phase::Running)
            && nodes.want(pool, &machine.instance_type, Some(&machine.zone), Some(machine.market.name()))
    };
    let mut found: Vec<(String, String)> =
        cloud.state().machines().into_iter().filter(meant).map(|machine| (machine.private_dns_name, machine.id)).collect();
    found.sort();
    found.into_iter().map(|(_, id)| id).collect()
}

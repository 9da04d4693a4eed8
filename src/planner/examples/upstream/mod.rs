//! Karpenter's own packages, asked beside this planner: the program built from `ci/oracle` reads a world a line and answers each.

use super::support::World;
use planner::output::{ClaimRequirement, PodOutcome};
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};

/// Upstream walks a Go map to find the least that daemons ask, so that the requests of a NodeClaim may differ from one answer to the
/// next; ours must be among the answers.
const TRIES: usize = 60;

/// What upstream answered so far where it may answer this or that.
#[derive(Default)]
struct Seen {
    /// Requests, by the pods of the NodeClaim.
    requests: BTreeMap<Vec<String>, BTreeSet<BTreeMap<String, i64>>>,
    /// Parts of errors, by pod.
    errors: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Answer {
    claims: Option<Vec<Claim>>,
    nodes: Option<BTreeMap<String, Vec<String>>>,
    errors: Option<BTreeMap<String, String>>,
    /// By pool, what it would get if its size were fixed.
    fixed: Option<BTreeMap<String, Claim>>,
    /// Pods that wait, by effective zone.
    zones: Option<BTreeMap<String, u32>>,
}

#[derive(Debug, Clone, PartialEq, PartialOrd, Deserialize)]
struct Claim {
    pods: Vec<String>,
    pool: String,
    types: Vec<String>,
    requirements: BTreeMap<String, Vec<String>>,
    requests: BTreeMap<String, i64>,
    labels: BTreeMap<String, String>,
    relaxed: String,
    /// Whether a price, or a resource, is a NodeOverlay's.
    overlaid: [String; 2],
}

/// Asks both sides about `COUNT` worlds from `FIRST_SEED` on, as the command line says. `world` makes one: what upstream is asked beside
/// offerings, options and overlays, and the planner's world. `forms`: amounts are given in several.
pub fn run(forms: bool, world: impl Fn(u64) -> (serde_json::Value, World)) -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [oracle, first, count] = arguments.as_slice() else {
        eprintln!("arguments: PATH_OF_ORACLE FIRST_SEED COUNT");
        return Ok(ExitCode::from(2));
    };
    let (first, count): (u64, u64) = (first.parse()?, count.parse()?);
    let mut child = Command::new(oracle).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut questions = child.stdin.take().ok_or("the oracle has no stdin")?;
    let mut answers = BufReader::new(child.stdout.take().ok_or("the oracle has no stdout")?);
    let (mut different, mut claims, mut refused, mut nominated) = (0, 0, 0, 0);
    let mut ways: BTreeMap<String, usize> = BTreeMap::new();
    for seed in first..first + count {
        let (mut question, world) = world(seed);
        question["offerings"] = json!(world.offerings);
        question["options"] = json!(world.options);
        question["overlays"] = world.overlays.iter().map(written).collect();
        let ours = answer(&world);
        let mut differences = Vec::new();
        let mut seen = Seen::default();
        for _ in 0..TRIES {
            writeln!(questions, "{question}")?;
            let mut line = String::new();
            if answers.read_line(&mut line)? == 0 {
                return Err(format!("upstream ended at seed {seed}").into());
            }
            differences = compare(&ours, serde_json::from_str(&line)?, &mut seen, forms);
            if differences.is_empty() {
                break;
            }
        }
        claims += ours.claims.as_ref().map_or(0, Vec::len);
        refused += ours.errors.as_ref().map_or(0, BTreeMap::len);
        for words in ours.errors.iter().flat_map(BTreeMap::values).flat_map(|words| words.split("; ")) {
            let kind = words.split([',', '(', '"', '=']).next().unwrap_or_default().trim_end();
            *ways.entry(kind.strip_prefix("key ").map_or(kind, |_| "key").to_owned()).or_default() += 1;
        }
        nominated += ours.nodes.as_ref().map_or(0, BTreeMap::len);
        if !differences.is_empty() {
            different += 1;
            println!("seed {seed}:\n{}", differences.join("\n"));
        }
    }
    drop(questions);
    child.wait()?;
    println!("{count} worlds from seed {first}: {different} differ; {claims} NodeClaims, {nominated} nodes used, {refused} pods refused");
    ways.iter().for_each(|(words, count)| println!("  {count:6} {words}"));
    Ok(if different == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn written((overlay, price): &(planner::overlay::Overlay, Option<String>)) -> serde_json::Value {
    let requirements: BTreeMap<&str, _> = overlay.requirements.iter().map(|r| (&*r.key, r)).collect();
    json!({ "name": overlay.name, "weight": overlay.weight, "requirements": requirements, "price": price, "capacity": overlay.capacity })
}

fn answer(world: &World) -> Answer {
    let (plan, explanation) = world.plan();
    let claim = |launch: &planner::output::NodeClaimPlan| {
        let annotation = |key: &str| launch.annotations.get(key).map(ToString::to_string).unwrap_or_default();
        let mut pods: Vec<String> = launch.pods.iter().map(ToString::to_string).collect();
        pods.sort();
        let mut requirements: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for requirement in &launch.requirements {
            requirements.insert(requirement.requirement.key.to_string(), entries(requirement));
        }
        Claim {
            pods,
            pool: launch.pool.to_string(),
            types: launch.instance_types.iter().map(|choice| choice.instance_type.to_string()).collect(),
            requirements,
            requests: launch.requests.iter().map(|(name, amount)| (name.to_owned(), amount)).collect(),
            labels: launch.labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            relaxed: annotation(vocabulary::labels::NODECLAIM_MIN_VALUES_RELAXED),
            overlaid: [vocabulary::labels::PRICE_OVERLAY_APPLIED, vocabulary::labels::CAPACITY_OVERLAY_APPLIED].map(annotation),
        }
    };
    let mut nodes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for nomination in &plan.nominations {
        nodes.entry(nomination.node.to_string()).or_default().push(nomination.pod.to_string());
    }
    let refused =
        explanation.pods.iter().filter(|verdict| matches!(verdict.outcome, PodOutcome::Unschedulable(_) | PodOutcome::Invalid { .. }));
    let errors = refused.map(|verdict| (verdict.pod.to_string(), planner::words::of(&verdict.outcome).unwrap_or_default())).collect();
    let fixed = world.snapshot.pools.iter().map(|pool| (pool.name.to_string(), claim(&planner::fixed::claim(pool)))).collect();
    let zones = explanation.zones.iter().map(|(zone, pods)| (zone.to_string(), *pods)).collect();
    let claims = plan.launches.iter().map(claim).collect();
    Answer { claims: Some(claims), nodes: Some(nodes), errors: Some(errors), fixed: Some(fixed), zones: Some(zones) }
}

/// As upstream writes a requirement: bounds before values, each an entry.
fn entries(requirement: &ClaimRequirement) -> Vec<String> {
    let r = &requirement.requirement;
    let min = r.min_values.unwrap_or(0);
    let bound = |operator: &str, value: i64| json!([operator, [value.to_string()], min]).to_string();
    let bounds: Vec<String> = r.gte.map(|low| bound("Gte", low)).into_iter().chain(r.lte.map(|high| bound("Lte", high))).collect();
    if bounds.is_empty() { vec![json!([format!("{:?}", r.operator()), requirement.ordered_values, min]).to_string()] } else { bounds }
}

fn compare(ours: &Answer, mut theirs: Answer, seen: &mut Seen, forms: bool) -> Vec<String> {
    let mut found = Vec::new();
    for right in theirs.claims.iter_mut().flatten() {
        for left in ours.claims.iter().flatten().filter(|left| left.pods == right.pods) {
            let seen = seen.requests.entry(left.pods.clone()).or_default();
            seen.insert(right.requests.clone());
            if seen.contains(&left.requests) {
                right.requests = left.requests.clone();
            }
        }
    }
    let theirs = &theirs;
    let sorted = |answer: &Answer| {
        let mut claims = answer.claims.clone().unwrap_or_default();
        claims.sort_by(|a, b| a.partial_cmp(b).expect("claims hold no numbers without order"));
        claims
    };
    let (mine, upstream) = (sorted(ours), sorted(theirs));
    if mine.len() != upstream.len() {
        found.push(format!("  {} NodeClaims, upstream {}", mine.len(), upstream.len()));
    }
    for (left, right) in mine.iter().zip(&upstream).filter(|(left, right)| !alike(left, right)).take(2) {
        found.push(format!("  ours     {left:?}\n  upstream {right:?}"));
    }
    let nodes = |answer: &Answer| answer.nodes.clone().unwrap_or_default();
    if nodes(ours) != nodes(theirs) {
        found.push(format!("  nodes: ours {:?}\n     upstream {:?}", nodes(ours), nodes(theirs)));
    }
    for (pool, left) in ours.fixed.iter().flatten() {
        let right = theirs.fixed.as_ref().and_then(|fixed| fixed.get(pool));
        if right.is_none_or(|right| !alike(left, right)) {
            found.push(format!("  of fixed size: ours     {left:?}\n                 upstream {right:?}"));
        }
    }
    let zones = |answer: &Answer| answer.zones.clone().unwrap_or_default();
    if zones(ours) != zones(theirs) {
        found.push(format!("  pods by zone: ours {:?}\n     upstream {:?}", zones(ours), zones(theirs)));
    }
    let errors = |answer: &Answer| answer.errors.clone().unwrap_or_default();
    let alone = |one: &Answer, other: &Answer| {
        let others = errors(other);
        errors(one).into_iter().filter(|(pod, _)| !others.contains_key(pod)).collect::<BTreeMap<_, _>>()
    };
    let (only_ours, only_theirs) = (alone(ours, theirs), alone(theirs, ours));
    if !only_ours.is_empty() || !only_theirs.is_empty() {
        found.push(format!("  refused by one: ours {only_ours:#?}\n       upstream {only_theirs:#?}"));
    }
    for (pod, theirs) in errors(theirs) {
        let Some(ours) = ours.errors.as_ref().and_then(|errors| errors.get(&pod)) else { continue };
        let answers = seen.errors.entry(pod.clone()).or_default();
        let (mine, upstream) = (plain(ours, forms), plain(&theirs, forms));
        let count = upstream.len();
        answers.extend(upstream);
        // Who waits for a reservation is told nothing.
        let same = mine.len() == count && mine.iter().all(|part| answers.contains(part));
        if !same && !theirs.contains("compatible reserved offering") {
            found.push(format!("  {pod} is told\n    ours     {ours}\n    upstream {theirs}"));
        }
    }
    found
}

/// An error's parts, without the numbers of planned hosts, which upstream counts over all that it ever planned. Of several rules that a
/// pod breaks, upstream names for each pool the one that a Go map yields first.
///
/// Where manifests give amounts in several `forms`, upstream's sums keep one of them: then memory is told in bytes.
fn plain(error: &str, forms: bool) -> Vec<String> {
    let error = if forms { &in_bytes(error) } else { error };
    let mut parts = error.split(PLANNED);
    let mut made = parts.next().unwrap_or_default().to_owned();
    parts.for_each(|part| made.extend([PLANNED, part.trim_start_matches(|c: char| c.is_ascii_digit())]));
    made.split("; ").map(str::to_owned).collect()
}

fn in_bytes(error: &str) -> String {
    const MEMORY: &str = "\"memory\":\"";
    let mut parts = error.split(MEMORY);
    let mut made = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (amount, rest) = part.split_once('"').unwrap_or((part, ""));
        let bytes =
            amount.parse::<vocabulary::Quantity>().map_or_else(|_| amount.to_owned(), |quantity| format!("{} bytes", quantity.ceil()));
        made.extend([MEMORY, &bytes, "\"", rest]);
    }
    made
}

const PLANNED: &str = "hostname-placeholder-";

/// Equal but for labels of which upstream draws the value.
fn alike(left: &Claim, right: &Claim) -> bool {
    let drawn =
        |key: &String| left.requirements.get(key).is_some_and(|lines| !lines[0].contains("\"In\"") || lines[0].matches(',').count() > 2);
    let fixed = |claim: &Claim| claim.labels.clone().into_iter().filter(|(key, _)| !drawn(key)).collect::<BTreeMap<_, _>>();
    let same_labels = fixed(left) == fixed(right) && left.labels.keys().eq(right.labels.keys());
    let types = |claim: &Claim| {
        let mut types = claim.types.clone();
        // Types outside of a reservation have no price upstream, and so no order.
        if claim.requirements.contains_key(vocabulary::labels::CAPACITY_RESERVATION_ID) {
            types.sort();
        }
        types
    };
    let rest = Claim { labels: right.labels.clone(), types: right.types.clone(), ..left.clone() };
    same_labels && types(left) == types(right) && rest == *right
}

//! Random rules about other pods: spread constraints, affinity and anti-affinity, and labels for them to be about.

use super::random::Dice;
use super::*;

const APPS: [&str; 3] = ["db", "web", "worker"];
const NAMESPACES: [&str; 2] = ["default", "other"];

fn is(key: &str, operator: Operator, values: &[&str]) -> SelectorTerm {
    SelectorTerm { key: key.into(), operator, values: values.iter().map(|value| Arc::from(*value)).collect() }
}

fn selector(dice: &mut Dice, own: &Labels) -> Selector {
    let mine = own.get("app").map_or("web", |app| app);
    Some(match dice.between(0, 19) {
        0 => return None,
        1 => Vec::new(),
        2 => vec![is("app", Operator::Exists, &[])],
        3 => vec![is("app", Operator::NotIn, &[*dice.pick(&APPS)])],
        4 => vec![is("app", Operator::DoesNotExist, &[])],
        5 => vec![is("app", Operator::In, &["db", "web"])],
        6..9 => vec![is("app", Operator::In, &[*dice.pick(&APPS)])],
        9 => vec![is("app", Operator::In, &[mine]), is("tier", Operator::Exists, &[])],
        _ => vec![is("app", Operator::In, &[mine])],
    })
}

fn key(dice: &mut Dice) -> Arc<str> {
    (*dice.pick(&[
        labels::ZONE,
        labels::ZONE,
        labels::ZONE,
        labels::HOSTNAME,
        labels::HOSTNAME,
        labels::CAPACITY_TYPE,
        labels::ARCH,
        labels::instance::FAMILY,
        "team",
    ]))
    .into()
}

fn spread(dice: &mut Dice, own: &Labels) -> SpreadConstraint {
    SpreadConstraint {
        key: key(dice),
        max_skew: i32::try_from(dice.between(1, 3)).unwrap(),
        min_domains: dice.percent(20).then(|| i32::try_from(dice.between(1, 4)).unwrap()),
        soft: dice.percent(35),
        selector: selector(dice, own),
        honor_affinity: dice.percent(80),
        honor_taints: dice.percent(25),
    }
}

fn term(dice: &mut Dice, own: &Labels) -> PodTerm {
    let namespaces = if dice.percent(15) { vec![Arc::from(*dice.pick(&NAMESPACES))] } else { Vec::new() };
    let namespace_selector = match dice.between(0, 9) {
        0 => Some(Vec::new()),
        1 => Some(vec![is("kind", Operator::In, &["other"])]),
        _ => None,
    };
    PodTerm { key: key(dice), selector: selector(dice, own), namespaces, namespace_selector }
}

fn terms(dice: &mut Dice, own: &Labels, preferred: i64) -> PodTerms {
    let mut made = PodTerms::default();
    for n in 0..dice.between(1, 2) {
        let term = term(dice, own);
        if dice.percent(preferred) {
            made.preferred.push((i32::try_from(50 - 9 * n).unwrap(), term));
        } else {
            made.required.push(term);
        }
    }
    made
}

pub fn label(dice: &mut Dice, pod: &mut Pod) {
    if dice.percent(85) {
        pod.labels.insert("app".into(), (*dice.pick(&APPS)).into());
    }
    if dice.percent(30) {
        pod.labels.insert("tier".into(), "front".into());
    }
    if dice.percent(10) {
        pod.namespace = "other".into();
    }
}

/// A pod that waits.
pub fn relate(dice: &mut Dice, pod: &mut Pod) {
    label(dice, pod);
    let own = pod.labels.clone();
    match dice.between(0, 9) {
        0..3 => pod.spread = (0..dice.between(1, 2)).map(|_| spread(dice, &own)).collect(),
        3 | 4 => pod.pod_affinity = terms(dice, &own, 35),
        5 | 6 => pod.pod_anti_affinity = terms(dice, &own, 35),
        7 => {
            pod.spread = vec![spread(dice, &own)];
            pod.pod_anti_affinity = terms(dice, &own, 60);
            pod.pod_affinity = terms(dice, &own, 60);
        }
        _ => {}
    }
}

/// A pod that has its place.
pub fn settle(dice: &mut Dice, pod: &mut Pod) {
    label(dice, pod);
    pod.terminating = dice.percent(6);
    if dice.percent(15) {
        pod.pod_anti_affinity = terms(dice, &pod.labels.clone(), 20);
    }
    if dice.percent(10) {
        pod.spread = vec![spread(dice, &pod.labels.clone())];
    }
}

pub fn namespaces() -> Vec<Arc<Namespace>> {
    let made = |name: &str| Namespace { name: name.into(), labels: [("kind".into(), name.into())].into() };
    NAMESPACES.iter().map(|name| Arc::new(made(name))).collect()
}

const DRIVER: &str = "ebs.csi.aws.com";

/// Volumes that pin a zone, or one of several, and count for the limits of nodes.
pub fn mount(dice: &mut Dice, pod: &mut Pod) {
    for n in 0..dice.between(1, 2) {
        let shared = dice.percent(30);
        let claim =
            if shared { format!("{}/shared-{}", pod.namespace, dice.between(0, 2)) } else { format!("{}/{}-{n}", pod.namespace, pod.name) };
        pod.volumes.attached.push((DRIVER.into(), claim.into()));
    }
    if dice.percent(70) {
        let zone = |dice: &mut Dice| [Requirement::new(labels::ZONE, Operator::In, [*dice.pick(&ZONES)])].into_iter().collect();
        pod.volumes.requirements = (0..dice.between(1, 2)).map(|_| zone(dice)).collect();
        if dice.percent(10) {
            pod.volumes.requirements.push(Requirements::new());
        }
    }
}

pub fn limit(dice: &mut Dice, node: &mut Node) {
    if dice.percent(50) {
        node.volume_limits.insert(DRIVER.into(), dice.between(0, 4));
    }
}

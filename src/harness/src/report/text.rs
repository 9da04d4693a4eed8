//! For people.

use super::{Outcome, Report};
use crate::acts::Done;
use crate::check::Verdict;
use crate::timeline::Event;
use std::fmt::Write as _;
use vocabulary::UsdPerHour;

/// Longest line of an explanation before it is wrapped.
const WIDTH: usize = 110;

struct Paint(bool);

impl Paint {
    fn wrap(&self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
    fn bold(&self, text: &str) -> String {
        self.wrap("1", text)
    }
    fn dim(&self, text: &str) -> String {
        self.wrap("2", text)
    }
    fn good(&self, text: &str) -> String {
        self.wrap("32", text)
    }
    fn bad(&self, text: &str) -> String {
        self.wrap("31", text)
    }
}

/// The whole story of one scenario. Without wall times, so that two runs read the same.
pub fn text(report: &Report, colour: bool) -> String {
    let paint = Paint(colour);
    let mut out = String::new();
    match &report.outcome {
        Outcome::Mistaken { message } | Outcome::Broken { message } => {
            let _ = writeln!(out, "{message}");
            return out;
        }
        Outcome::Held | Outcome::Failed => {}
    }
    let _ = writeln!(out, "{}  {}", paint.bold(&report.scenario), paint.dim(&format!("{}, seed {}", report.world, report.seed)));
    if !report.about.is_empty() {
        wrapped(&mut out, "", &report.about);
    }
    let mut steps = report.steps.iter();
    let mut acts_left = 0;
    let mut open = None;
    for entry in &report.timeline {
        if matches!(entry.event, Event::Step { .. }) {
            if acts_left == 0 {
                // Steps without an action have no entry of their own: their verdicts stand before the next action.
                verdicts_of(&mut out, &paint, open.take());
                for step in steps.by_ref() {
                    acts_left = step.actions.len();
                    open = Some(step);
                    if acts_left > 0 {
                        break;
                    }
                    verdicts_of(&mut out, &paint, open.take());
                }
            }
            acts_left = acts_left.saturating_sub(1);
            let _ = writeln!(out, "\n{}  {}", moment(entry.at.as_secs_f64()), paint.bold(&entry.event.sentence()));
        } else {
            let _ = writeln!(out, "{}    {}", paint.dim(&moment(entry.at.as_secs_f64())), entry.event.sentence());
        }
        for line in &entry.because {
            wrapped(&mut out, "              ", line);
        }
    }
    verdicts_of(&mut out, &paint, open);
    for step in steps {
        verdicts_of(&mut out, &paint, Some(step));
    }
    if !report.always.is_empty() {
        let _ = writeln!(out);
        for verdict in &report.always {
            one_verdict(&mut out, &paint, verdict);
        }
    }
    invariants(&mut out, &paint, &report.invariants);
    costs(&mut out, report);
    out
}

fn moment(seconds: f64) -> String {
    format!("{seconds:>8.1}s")
}

fn verdicts_of(out: &mut String, paint: &Paint, step: Option<&crate::drive::StepReport>) {
    let Some(step) = step else { return };
    // Launches alone are told by the timeline.
    if step.acts.iter().any(|act| act.done != Done::Launch) {
        let _ = writeln!(out, "           actions: {}", step.acts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    }
    for verdict in &step.verdicts {
        one_verdict(out, paint, verdict);
    }
    for line in step.moving.iter().take(12) {
        let _ = writeln!(out, "           {} did not settle: {line}", paint.bad("✗"));
    }
    if step.moving.len() > 12 {
        let _ = writeln!(out, "             and {} more", step.moving.len() - 12);
    }
}

fn one_verdict(out: &mut String, paint: &Paint, verdict: &Verdict) {
    let (sign, seen) = if verdict.held {
        (paint.good("✓"), paint.dim(&verdict.seen))
    } else {
        (paint.bad("✗"), format!("{}  (line {})", paint.bad(&verdict.seen), verdict.line))
    };
    let _ = writeln!(out, "           {sign} {}  — {seen}", verdict.expected);
}

/// What was broken of what always holds, and what was not judged; the rest in a word.
fn invariants(out: &mut String, paint: &Paint, verdicts: &[Verdict]) {
    if verdicts.is_empty() {
        return;
    }
    let (plain, told): (Vec<&Verdict>, Vec<&Verdict>) = verdicts.iter().partition(|v| v.held && v.seen == "held");
    let _ = writeln!(out, "\n           {} what always holds  — {}", paint.good("✓"), paint.dim(&format!("{} rules held", plain.len())));
    for verdict in told {
        let (sign, seen) = if verdict.held { ("-", paint.dim(&verdict.seen)) } else { ("✗", paint.bad(&verdict.seen)) };
        let sign = if verdict.held { sign.to_owned() } else { paint.bad(sign) };
        let _ = writeln!(out, "           {sign} {}  — {seen}", verdict.expected);
    }
}

fn wrapped(out: &mut String, indent: &str, text: &str) {
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && indent.len() + line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(out, "{indent}{line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "{indent}{line}");
}

fn costs(out: &mut String, report: &Report) {
    let shown: Vec<String> =
        report.costs.hourly.iter().filter_map(|(pool, dollars)| Some(format!("{pool} {}/h", UsdPerHour::new(*dollars)?))).collect();
    let shown = if shown.is_empty() { "no machines".to_owned() } else { shown.join(", ") };
    let _ = writeln!(out, "\ncost at the end: {shown}; spent ${:.4} in {}", report.costs.spent, human(report.story_seconds));
    let _ = writeln!(out, "prices: {}", report.costs.source);
}

/// `5m38s`.
pub fn human(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, s) => format!("{h}h{m:02}m{s:02}s"),
    }
}

/// One line a scenario, and one for all.
pub fn summary(reports: &[Report], colour: bool) -> String {
    let paint = Paint(colour);
    let mut out = String::new();
    for report in reports {
        let word = match report.outcome {
            Outcome::Held => paint.good("held"),
            Outcome::Failed => paint.bad("FAILED"),
            Outcome::Mistaken { .. } => paint.bad("WRONG"),
            Outcome::Broken { .. } => paint.bad("BROKEN"),
        };
        let held = report.verdicts().filter(|v| v.held).count();
        let all = report.verdicts().count();
        let _ = writeln!(
            out,
            "{word}  {}  {held} of {all} expectations, {} in {:.2}s",
            report.scenario,
            human(report.story_seconds),
            report.wall_seconds
        );
    }
    let held = reports.iter().filter(|r| r.outcome == Outcome::Held).count();
    let _ = writeln!(out, "{} scenarios: {held} held, {} did not", reports.len(), reports.len() - held);
    out
}

//! Containers that end by themselves, and what their pod's restart policy makes of that. Nothing is executed: how long a program runs is
//! read from its command, as far as it consists of `sleep`, `true`, `false`, `exit` and `echo`, or is said by an annotation.
//!
//! Source: kubernetes `pkg/kubelet/kuberuntime/kuberuntime_manager.go` (doBackOff), `k8s.io/client-go/util/flowcontrol/backoff.go`.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Container;

/// On a pod: how long its containers run whose command does not say so, and with which code they end: `30s`, `2m=1`; `2m=oom` when the
/// kernel ends them for want of memory.
pub const ENDS: &str = "run.dryfit.dev/ends";

/// The second restart waits so long, each later one twice as long as the one before, up to the most.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(10);
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(5);
/// What has run for so long starts again as if it had never failed.
const FORGIVEN: SignedDuration = SignedDuration::from_mins(10);

/// A program that ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Program {
    pub runs: SignedDuration,
    pub exit: i32,
    /// The kernel ends it for want of memory.
    pub oom: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Restart {
    #[default]
    Always,
    OnFailure,
    Never,
}

impl Restart {
    pub fn of(policy: Option<&str>) -> Restart {
        match policy {
            Some("Never") => Restart::Never,
            Some("OnFailure") => Restart::OnFailure,
            _ => Restart::Always,
        }
    }
}

/// One run that is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    pub started: Timestamp,
    pub finished: Timestamp,
    pub exit: i32,
    pub oom: bool,
}

/// How a container is at some moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Now {
    Running {
        since: Timestamp,
    },
    /// `CrashLoopBackOff`; the wait is from the end of the last run on.
    Waits {
        wait: SignedDuration,
    },
    Over,
}

/// A container's state with its history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    pub now: Now,
    pub restarts: u32,
    pub last: Option<Run>,
    /// When it changes by itself.
    pub next: Option<Timestamp>,
}

/// How a container that first started at `started` is at `now`.
pub fn state(program: Option<Program>, restart: Restart, started: Timestamp, now: Timestamp) -> State {
    walk(program, restart, started, now, |_, _| {})
}

/// The same; `seen` is told of each wait and of each start after the first, with its time.
pub fn walk(program: Option<Program>, restart: Restart, started: Timestamp, now: Timestamp, mut seen: impl FnMut(Timestamp, Now)) -> State {
    let (mut since, mut restarts, mut last, mut wait) = (started, 0, None, SignedDuration::ZERO);
    loop {
        let running = State { now: Now::Running { since }, restarts, last, next: None };
        let Some(program) = program else { return running };
        let finished = later(since, program.runs);
        if finished > now {
            return State { next: Some(finished), ..running };
        }
        last = Some(Run { started: since, finished, exit: program.exit, oom: program.oom });
        if restart == Restart::Never || restart == Restart::OnFailure && program.exit == 0 {
            return State { now: Now::Over, restarts, last, next: None };
        }
        wait = self::wait(wait, restarts, program.runs);
        since = later(finished, wait);
        if !wait.is_zero() {
            seen(finished, Now::Waits { wait });
        }
        if since > now {
            return State { now: Now::Waits { wait }, restarts, last, next: Some(since) };
        }
        restarts += 1;
        seen(since, Now::Running { since });
        // Whatever ends at once and starts at once would do so for ever within one instant.
        if since == started && restarts > 1 {
            return State { now: Now::Waits { wait: FIRST_WAIT }, restarts, last, next: Some(later(started, FIRST_WAIT)) };
        }
    }
}

/// How long a container that has ended waits: after `before` it is twice as long, unless it ran long enough.
pub(super) fn wait(before: SignedDuration, restarts: u32, ran: SignedDuration) -> SignedDuration {
    match before {
        _ if restarts == 0 || ran >= FORGIVEN => SignedDuration::ZERO,
        SignedDuration::ZERO => FIRST_WAIT,
        before => before.saturating_add(before).min(LONGEST_WAIT),
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// What a container's command does; `None` when it goes on until somebody stops it, or nobody can tell.
pub fn program(container: &Container) -> Option<Program> {
    let mut words: Vec<&str> = container.command.iter().chain(&container.args).flatten().map(String::as_str).collect();
    let name = |word: &str| word.rsplit('/').next().unwrap_or(word).to_owned();
    // Without a command the arguments go to the image's own entry point, which nobody knows.
    container.command.as_ref().filter(|command| !command.is_empty())?;
    if matches!(name(words[0]).as_str(), "sh" | "bash" | "ash" | "dash") {
        let flag = words.iter().position(|word| word.starts_with('-') && word.ends_with('c'))?;
        return script(words.get(flag + 1)?);
    }
    let first = name(words[0]);
    words[0] = &first;
    script(&words.join(" "))
}

fn script(text: &str) -> Option<Program> {
    let mut program = Program { runs: SignedDuration::ZERO, exit: 0, oom: false };
    let text = text.replace("&&", ";").replace('\n', ";");
    if text.contains(['|', '&', '$', '`', '(', '{', '<']) {
        return None;
    }
    for statement in text.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
        let words: Vec<&str> = statement.split_whitespace().collect();
        match words[..] {
            ["sleep", ref times @ ..] if !times.is_empty() => {
                for time in times {
                    program.runs = program.runs.saturating_add(duration(time, "s")?);
                }
                program.exit = 0;
            }
            ["true"] | ["set", ..] | ["date"] => program.exit = 0,
            ["echo", ..] => program.exit = 0,
            ["false"] => program.exit = 1,
            ["exit"] => return Some(program),
            ["exit", code] => return Some(Program { exit: code.parse().ok()?, ..program }),
            _ => return None,
        }
    }
    Some(program)
}

/// `30s`, `2m=1`, `2m=oom`.
pub fn annotated(text: &str) -> Option<Program> {
    let (time, code) = text.split_once('=').unwrap_or((text, "0"));
    let runs = duration(time.trim(), "")?;
    match code.trim() {
        // 128 and SIGKILL.
        "oom" => Some(Program { runs, exit: 137, oom: true }),
        code => Some(Program { runs, exit: code.parse().ok()?, oom: false }),
    }
}

/// A number with a unit, as `sleep` takes it; `unit` is that of a bare number.
pub(super) fn duration(text: &str, unit: &str) -> Option<SignedDuration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds: f64 = match (&text[digits.len()..], unit) {
        ("s", _) | ("", "s") => 1.0,
        ("m", _) => 60.0,
        ("h", _) => 3600.0,
        ("d", _) => 86400.0,
        ("ms", "") => 0.001,
        _ => return None,
    };
    let number: f64 = digits.parse().ok()?;
    SignedDuration::try_from_secs_f64(number * seconds).ok().filter(|duration| !duration.is_negative())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn container(command: &[&str], args: &[&str]) -> Container {
        let words = |list: &[&str]| Some(list.iter().map(|word| (*word).to_owned()).collect());
        Container { command: words(command), args: words(args), ..Default::default() }
    }

    #[rstest]
    #[case::sleep(&["sleep", "5"], &[], Some((5000, 0)))]
    #[case::minutes(&["/bin/sleep"], &["1.5m"], Some((90_000, 0)))]
    #[case::truth(&["true"], &[], Some((0, 0)))]
    #[case::failure(&["/bin/false"], &[], Some((0, 1)))]
    #[case::script(&["sh", "-c"], &["echo working; sleep 3 && exit 42"], Some((3000, 42)))]
    #[case::for_ever(&["sleep", "infinity"], &[], None)]
    #[case::a_loop(&["sh", "-c", "while true; do sleep 1; done"], &[], None)]
    #[case::something_else(&["nginx", "-g", "daemon off"], &[], None)]
    #[case::the_image_s_own(&[], &["sleep", "5"], None)]
    fn commands_say_how_long_they_run(#[case] command: &[&str], #[case] args: &[&str], #[case] expect: Option<(i64, i32)>) {
        let expect = expect.map(|(millis, exit)| Program { runs: SignedDuration::from_millis(millis), exit, oom: false });
        assert_eq!(program(&container(command, args)), expect);
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("in range")
    }

    #[rstest]
    #[case::runs(Restart::Always, 1, 3, "running, 0 restarts, 4")]
    #[case::starts_again_at_once(Restart::Always, 1, 4, "running, 1 restarts, 8")]
    #[case::then_waits(Restart::Always, 1, 8, "waits 10s, 1 restarts, 18")]
    #[case::and_longer(Restart::OnFailure, 1, 22, "waits 20s, 2 restarts, 42")]
    #[case::success_is_the_end(Restart::OnFailure, 0, 9, "over, 0 restarts, -")]
    #[case::never(Restart::Never, 1, 9, "over, 0 restarts, -")]
    #[case::five_minutes_at_most(Restart::Always, 1, 4000, "waits 300s, 18 restarts, 4286")]
    fn what_ended_starts_again(#[case] restart: Restart, #[case] exit: i32, #[case] second: i64, #[case] expect: &str) {
        let program = Program { runs: SignedDuration::from_secs(4), exit, oom: false };
        let found = state(Some(program), restart, at(0), at(second));
        let what = match found.now {
            Now::Running { .. } => "running".to_owned(),
            Now::Waits { wait } => format!("waits {}s", wait.as_secs()),
            Now::Over => "over".to_owned(),
        };
        let next = found.next.map_or("-".to_owned(), |next| (next.as_second() - at(0).as_second()).to_string());
        assert_eq!(format!("{what}, {} restarts, {next}", found.restarts), expect);
    }
}

//! Child processes on a leash.
//!
//! Each child leads its own process group, and beside it in the group waits a shell whose standard input is a pipe from us (the
//! leash). When the pipe closes, the shell kills the group. The kernel closes our end whatever ends us, SIGKILL included; and as
//! nothing hangs on the thread that started the child (as Linux' parent-death signal does), threads may come and go.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};

use process_wrap::std::{ChildWrapper, CommandWrap, ProcessGroup};

use super::Error;

/// Starts the watcher, which outlives a request to end, then becomes the program. Nobody but the watcher keeps the leash open for reading.
const LEASH: &str = r#"
exec 3<&0 </dev/null
( trap '' TERM; read -r _ <&3; kill -s KILL 0 ) &
exec 3<&-
name=$1
shift
if [ -n "$name" ] && unshare --map-root-user --uts true 2>/dev/null; then
    exec unshare --map-root-user --uts /bin/sh -c 'hostname "$0"; exec "$@"' "$name" "$0" "$@"
fi
exec "$0" "$@"
"#;

/// The same number on every system that has it (POSIX).
const SIGTERM: i32 = 15;

/// What to start.
pub(super) struct Program<'a> {
    pub(super) name: &'a str,
    pub(super) binary: PathBuf,
    pub(super) arguments: Vec<String>,
    /// The whole environment but `PATH`: nothing is inherited, least of all somebody's AWS credentials.
    pub(super) environment: BTreeMap<String, String>,
    /// The name that its machine seems to have, where the system lets us do so; empty for the real one.
    pub(super) hostname: &'a str,
    /// Takes standard output and standard error.
    pub(super) log: PathBuf,
    /// Whether the log goes on after what is there.
    pub(super) goes_on: bool,
    /// What to do when it ends early.
    pub(super) remedy: &'static str,
}

/// A running child with everything that it started. Dropping it kills and reaps it.
#[derive(Debug)]
pub(super) struct Leashed {
    name: String,
    log: PathBuf,
    remedy: &'static str,
    leash: Option<ChildStdin>,
    child: Mutex<Box<dyn ChildWrapper>>,
}

impl Leashed {
    pub(super) fn start(program: Program<'_>) -> Result<Leashed, Error> {
        let Program { name, binary, arguments, environment, hostname, log, goes_on, remedy } = program;
        let file = File::options().write(true).create(true).append(goes_on).truncate(!goes_on).open(&log);
        let file = file.map_err(Error::io(format!("make the log {}", log.display())))?;
        let errors = file.try_clone().map_err(Error::io(format!("share the log {}", log.display())))?;
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(LEASH).arg(&binary).arg(hostname).args(arguments);
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).envs(environment);
        command.stdin(Stdio::piped()).stdout(file).stderr(errors);
        let mut command = CommandWrap::from(command);
        command.wrap(ProcessGroup::leader());
        let mut child = command.spawn().map_err(Error::io(format!("start {name} ({})", binary.display())))?;
        let leash = child.stdin().take();
        Ok(Leashed { name: name.to_owned(), log, remedy, leash, child: Mutex::new(child) })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// The process id, which is its group's too.
    pub(super) fn id(&self) -> u32 {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).id()
    }

    /// Asks it to end (SIGTERM).
    pub(super) fn terminate(&self) {
        if let Err(error) = self.child.lock().unwrap_or_else(PoisonError::into_inner).signal(SIGTERM) {
            tracing::debug!(name = self.name, %error, "nobody left to ask");
        }
    }

    /// Ends it by force; [`Leashed::ended`] tells when it has.
    pub(super) fn kill(&self) {
        if let Err(error) = self.child.lock().unwrap_or_else(PoisonError::into_inner).start_kill() {
            tracing::debug!(name = self.name, %error, "nothing left to kill");
        }
    }

    /// How it ended; `None` while it runs.
    pub(super) fn ended(&self) -> Result<Option<ExitStatus>, Error> {
        let status = self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait();
        status.map_err(Error::io(format!("ask after {}", self.name)))
    }

    /// An error when the process has ended.
    pub(super) fn check(&self) -> Result<(), Error> {
        let Some(status) = self.ended()? else { return Ok(()) };
        Err(Error::DiedEarly {
            component: self.name.clone(),
            status: status.to_string(),
            log: self.log.clone(),
            tail: tail(&self.log),
            remedy: self.remedy,
        })
    }
}

impl Drop for Leashed {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // The group has the watcher in it, so that it exists even when the child has ended by itself.
        if let Err(error) = child.start_kill() {
            tracing::debug!(name = self.name, %error, "nothing left to kill");
        }
        drop(self.leash.take());
        if let Err(error) = child.wait() {
            tracing::debug!(name = self.name, %error, "nothing left to reap");
        }
    }
}

/// The last lines of a log, for an error message.
pub(super) fn tail(log: &Path) -> String {
    const LINES: usize = 12;
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown: Vec<String> = lines.iter().skip(lines.len().saturating_sub(LINES)).map(|line| format!("  {line}")).collect();
    if shown.is_empty() { "  (nothing)".to_owned() } else { shown.join("\n") }
}

//! Answers on standard output. A closed pipe (`| head`) is the reader's choice: the command ends quietly, with the code it would have had.
//! Anything else that keeps an answer from being written is an error.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// The machine's fault, as of every command.
const UNWRITTEN: u8 = 3;

/// Prints a text and gives the exit code of a command that had nothing else to do.
pub fn print(text: &str) -> ExitCode {
    print_and(text, ExitCode::SUCCESS)
}

/// Prints a text, and a line's end if it lacks one; the code is what counts if it could be written.
pub fn print_and(text: &str, code: ExitCode) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let end = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
    match out.write_all(text.as_bytes()).and_then(|()| out.write_all(end.as_bytes())).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("print: {error}");
            ExitCode::from(UNWRITTEN)
        }
        _ => code,
    }
}

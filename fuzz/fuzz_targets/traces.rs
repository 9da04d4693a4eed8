//! Any text as a trace of Spot prices or as a catalogue.
#![no_main]

use fake_ec2::catalogue::File;
use fake_ec2::state::Trace;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Trace::read("trace", text, "us-west-2");
    let _ = File::read("file", text);
});

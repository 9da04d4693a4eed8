//! Any text as a policy of IAM.
#![no_main]

use fake_ec2::policy::{Kind, Policy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for kind in [Kind::Identity, Kind::Resource] {
        let _ = Policy::read(text, kind);
    }
});
